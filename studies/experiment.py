"""An experiment as the command line names it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict


class Experiment(NamedTuple):
    """A config from the command line.

    Attributes:
      file: its name, with what follows its colon.
      config: its settings.
      overrides: the settings that the command line changed, by name.
    """

    file: str
    config: ConfigDict
    overrides: Mapping[str, Any]
