"""What values settings and flags take, stated once: checked before anything is read, and shown.

Rules of settings are beside their defaults (`RULES`, by name or by pattern), rules of flags beside
theirs in common/program/options.py. Needs no JAX.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from common.program.errors import UserError

_DURATION = re.compile(r"\s*(?:(\d+)\s*(?:steps?)?|(\d+(?:\.\d+)?)\s*(epochs?|%))\s*")
MOST_STEPS = 2_000_000_000  # fits the int32 counters of a state
SEEDS = 2**32 - 1  # the highest seed


@dataclass(frozen=True)
class Rule:
    """What values are allowed.

    Attributes:
      allowed: the values in words: "a whole number from 1 to 4096".
      holds: whether a value is allowed.
    """

    allowed: str
    holds: Callable[[Any], bool]

    def check(self, name: str, value: object) -> None:
        """Refuses a value that is not allowed.

        Raises:
          UserError: naming the setting, the value and what is allowed.
        """
        if not self.holds(value):
            raise UserError(f"{name} is {str_of(value)}; it must be {self.allowed}.")


Rules: TypeAlias = Mapping[str, Rule]


def whole(least: int, most: int) -> Rule:
    """Allows whole numbers from `least` to `most`."""
    return Rule(
        f"a whole number from {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


def number(
    least: int | float, most: int | float, *, above: bool = False, below: bool = False
) -> Rule:
    """Allows numbers from `least` to `most`; `above` and `below` exclude these bounds."""
    begin = f"above {least:g}" if above else f"from {least:g}"
    end = f"less than {most:g}" if below else f"{most:g}"
    between = " to " if not (above or below) else " and " if below else " and at most "

    def holds(value: object) -> bool:
        if not isinstance(value, int | float) or type(value) not in (int, float):
            return False
        enough = least < value if above else least <= value
        return enough and (value < most if below else value <= most)

    return Rule(f"a number {begin}{between}{end}", holds)


def choice(*values: object) -> Rule:
    """Allows these values, with their types."""
    listed = " or ".join(map(repr, values))
    return Rule(listed, lambda value: any(type(value) is type(x) and value == x for x in values))


def some(*names: str) -> Rule:
    """Allows text: some of these names with commas between, or none."""

    def holds(value: object) -> bool:
        return value == "" or (isinstance(value, str) and {*value.split(",")} <= {*names})

    return Rule(f"'' or some of {', '.join(names)} with commas between", holds)


def switch() -> Rule:
    """Allows True and False."""
    return choice(True, False)


def text() -> Rule:
    """Allows any text; its reader reports what is wrong with it."""
    return Rule("text", lambda value: isinstance(value, str))


def duration(*words: str, positive: bool = False, share: bool = False) -> Rule:
    """Allows durations, if `positive` above 0 only, and some words.

    With `share` also a share of training.
    """
    steps = f"steps as '3000' or epochs as '15 epochs'{', more than 0' if positive else ''}"
    steps += " or a share of training as '50 %'" * share

    def holds(value: object) -> bool:
        if value in words:
            return True
        read = read_duration(value) if isinstance(value, str) else None
        if read is None or (read[1] == "%" and not (share and read[0] <= 100)):
            return False
        return read[0] <= MOST_STEPS and not (positive and not read[0])

    return Rule(" or ".join([*map(repr, words), f"a duration, {steps}"]), holds)


def each(rule: Rule) -> Rule:
    """Allows sequences of values that a rule allows."""
    return Rule(
        f"a tuple like (64, 32), each entry {rule.allowed}",
        lambda value: isinstance(value, tuple | list) and all(map(rule.holds, value)),
    )


def read_duration(duration: str) -> tuple[float, str] | None:
    """Returns the number and "steps", "epochs" or "%"; None if the text is not a duration.

    Steps are whole; epochs and shares may be fractions.
    """
    match = _DURATION.fullmatch(duration)
    if match is None:
        return None
    if match[1]:
        return float(match[1]), "steps"
    return float(match[2]), "%" if match[3] == "%" else "epochs"


def str_of(value: object) -> str:
    """Returns a value as it is written in code: text in quotes."""
    return repr(value) if isinstance(value, str) else str(value)


def rule_of(name: str, value: object, rules: Rules) -> Rule:
    """Returns the rule of a setting: by its name, else by the first pattern that matches.

    Without a rule, as for fields of a network that somebody added, numbers must be finite and
    anything else is free.
    """
    if name in rules:
        return rules[name]
    found = (rule for pattern, rule in rules.items() if fnmatchcase(name, pattern))
    return next(found, _ANYTHING.get(type(value), _FREE))


_FREE = Rule("a value", lambda value: True)
_ANYTHING = {
    int: whole(-(2**31), 2**31 - 1),
    float: number(-1e38, 1e38),
}
