"""Which form of an operation is taken: the fastest on the target that a program is traced for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias

import jax

Form: TypeAlias = Literal["auto", "lax", "products"]
Target: TypeAlias = Literal["cpu", "gpu", "tpu"]

_target: ContextVar[str] = ContextVar("target", default="")  # "" is the backend in use


@contextmanager
def forms_for(target: Target) -> Iterator[None]:
    """What is traced within takes the forms that are fastest on a target, whatever runs here.

    Lets a program be compiled for hardware that this machine does not have.
    """
    with _set(target):
        yield


@contextmanager
def plain_forms() -> Iterator[None]:
    """What is traced within takes the plain forms, whose operations XLA can count."""
    with _set("plain"):
        yield


@contextmanager
def _set(target: str) -> Iterator[None]:
    token = _target.set(target)
    try:
        yield
    finally:
        _target.reset(token)


def plain_is_asked_for() -> bool:
    """Says whether `plain_forms` is in force."""
    return _target.get() == "plain"


def form_on_target(form: Form = "auto") -> Literal["lax", "products"]:
    """Names the form that a function takes: `form` itself unless that is "auto".

    This is the only place that asks which platform a program is for; it is asked at trace time.
    """
    if form == "auto":
        return "products" if (_target.get() or jax.default_backend()) == "cpu" else "lax"
    return form
