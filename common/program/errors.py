"""The ways in which the program ends early and tells a person why."""


class UserError(Exception):
    """A mistake that the user can mend: `launch.py` prints the sentence and exits with code 2.

    The message is one sentence: what is wrong, with which file or field, and what to do.
    """


class DivergenceError(Exception):
    """Training produced a value that is not finite: the message names it, the steps and a way out.

    Attributes:
      what: the message without the way out, which is another one in a study.
    """

    def __init__(self, what: str, way_out: str = "") -> None:
        super().__init__(f"{what} {way_out}".rstrip())
        self.what = what


class FaultError(Exception):
    """The program itself is at fault: the message says how, and where the traceback is."""
