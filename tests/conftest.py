"""Fixtures that more than one folder of tests needs."""

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the project; its README says what they are."""
    folder = Path(os.environ.get("SHARED_DATA") or _ROOT.parent / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: set SHARED_DATA to the folder of real images")
    return folder
