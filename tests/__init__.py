"""While tests run, types and shapes are checked at each call of the project's functions."""

import dataclasses
from collections.abc import Callable
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

import jaxtyping
import optax
from beartype import BeartypeConf, FrozenDict, beartype

_jaxtyped = jaxtyping.jaxtyped
_ONE_CALL = _jaxtyped("context")  # in which a dimension's name stands for one size

# A type that names itself, in a module that beartype does not know.
_TREES = FrozenDict({optax.OptState: Any, optax.OptState | None: Any})
_checks = beartype(conf=BeartypeConf(hint_overrides=_TREES))


def checked(target: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function, or a dataclass's __init__, as `jaxtyped` with `beartype` would.

    The checks are the same. jaxtyping's own decorator makes two more functions of each, also of
    one that is defined anew within another, and binds the arguments of each call: with it a fifth
    of five files' CPU time were checks.
    """
    if not isinstance(target, type):
        return _checked_function(target)
    if dataclasses.is_dataclass(target) and not hasattr(target.__init__, "__wrapped__"):
        target.__init__ = _checked_function(target.__init__)
    return target


def _checked_function(function: Callable[..., Any]) -> Callable[..., Any]:
    made: list[Callable[..., Any]] = []  # at the first call: a process of tests calls few of all

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if not made:
            made.append(_with_checks(function))
        with _ONE_CALL:
            return made[0](*args, **options)

    return call


def _with_checks(function: Callable[..., Any]) -> Callable[..., Any]:
    hints = function.__annotations__
    for name, hint in hints.items():
        if isinstance(hint, str):
            try:
                hints[name] = eval(hint, function.__globals__)
            except NameError:  # known to type checkers alone, or within a function
                hints[name] = Any
    # A generator's body runs after the call, and "{size}" is computed from the call's arguments.
    if isgeneratorfunction(function) or any("{" in repr(hint) for hint in hints.values()):
        return _jaxtyped(function, typechecker=_checks)
    return _checks(function)


def _it_alone(*, typechecker: Callable[..., Any]) -> Callable[..., Any]:
    return typechecker


jaxtyping.jaxtyped = _it_alone  # with which the import hook decorates: here, with `checked` alone
