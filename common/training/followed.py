"""What a tracker is told of a run when it begins to follow it."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Followed(NamedTuple):
    """A run that a tracker follows.

    Attributes:
      workdir: of the run, where a tracker without a server writes.
      settings: of the run, by name: {"data.batch_size": 32}.
      identifier: under which the tracker knows the run; "" if it does not.
    """

    workdir: Path
    settings: Mapping[str, object]
    identifier: str

    @property
    def name(self) -> str:
        """Returns what people call the run."""
        return self.workdir.absolute().name
