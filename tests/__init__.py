"""Types and shapes are checked at each call, and the checks of a function made at its first."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function as `beartype` does, which takes some seconds for all functions.

    Each of the suite's processes imports them all, and calls few.
    """
    made: list[Callable[..., Any]] = []

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if not made:
            made.append(beartype(function))
        return made[0](*args, **options)

    return call
