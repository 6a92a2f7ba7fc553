"""Triptych as a library: `triptych.gan` is the package `gan`, and so on.

The packages lie side by side at the top of the project, where `launch.py` finds them.
"""

import importlib
import importlib.metadata
from types import ModuleType

_PACKAGES = ("classify", "common", "configs", "gan", "studies", "translate", "unet")
__version__ = importlib.metadata.version("triptych")


def __getattr__(name: str) -> ModuleType:
    """Returns a package and imports it on first use.

    Raises:
      AttributeError: there is no such package.
    """
    if name in _PACKAGES:
        return importlib.import_module(name)
    raise AttributeError(f"module 'triptych' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the names of the packages."""
    return [*_PACKAGES, "__version__"]
