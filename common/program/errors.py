"""The errors that end the program early with a message for a person."""


class UserError(Exception):
    """A mistake that the user can fix: `launch.py` prints the sentence and exits with code 2.

    The message is one sentence: what is wrong, with which file or field, and what to do.
    """

    @property
    def advises_setting(self) -> bool:
        """Says whether what to do is to give a setting on the command line."""
        return "--config." in str(self)


class GroupError(UserError):
    """`config.data.group` does not fit the images."""


class RetrainError(UserError):
    """What is asked for takes a run that was trained with other settings."""


class PeerError(UserError):
    """Another process of the run has failed, and has said why itself."""


class DivergenceError(Exception):
    """Training produced a non-finite value: the message names it, the steps and a remedy.

    Attributes:
      what: the message without the remedy, which differs in a study.
    """

    def __init__(self, what: str, way_out: str = "") -> None:
        super().__init__(f"{what} {way_out}".rstrip())
        self.what = what


class FaultError(Exception):
    """The program itself is at fault: the message says how, and where the traceback is."""
