"""A fixture of many tests of GANs."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture
def float64() -> Iterator[None]:
    """Computes in double precision."""
    with jax.enable_x64(True):
        yield
