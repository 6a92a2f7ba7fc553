"""What will not fit is refused before the first step, with what to do."""

from types import SimpleNamespace

import pytest

from common.program.errors import UserError
from common.training import preflight


@pytest.fixture
def free(monkeypatch):
    """Pretends that this machine has 1 GB left."""
    memory = SimpleNamespace(available=10**9)
    monkeypatch.setattr(preflight.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(preflight.jax, "local_devices", lambda: [SimpleNamespace(platform="cpu")])


def test_a_step_that_fits_is_let_through(free):
    preflight.check_memory(10**9, low_memory=False)


def test_a_step_that_will_not_fit_is_refused(free):
    needs = r"needs 2\.00 GB more and this machine has 1\.00 GB; lower config\.data\.batch_size"
    with pytest.raises(UserError, match=needs):
        preflight.check_memory(2 * 10**9, low_memory=True)


def test_a_program_for_less_memory_is_proposed_where_it_is_not_one(free):
    with pytest.raises(UserError, match=r"set --config\.train\.low_memory=True or lower"):
        preflight.check_memory(2 * 10**9, low_memory=False)
