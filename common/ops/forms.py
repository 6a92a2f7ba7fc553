"""The form of an operation: the fastest on the target that a program is traced for."""

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
    """Makes what is traced within use the forms that are fastest on a target.

    So a program can be compiled for hardware that this machine does not have.
    """
    with _set(target):
        yield


@contextmanager
def plain_forms() -> Iterator[None]:
    """Makes what is traced within use the plain forms, whose operations XLA can count."""
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
    """Returns whether `plain_forms` is active."""
    return _target.get() == "plain"


def form_on_target(form: Form = "auto") -> Literal["lax", "products"]:
    """Returns the form that a function uses: `form` itself unless that is "auto".

    This is the only place that asks which platform a program is for; it is asked at trace time.
    """
    if form == "auto":
        return "products" if (_target.get() or jax.default_backend()) == "cpu" else "lax"
    return form
