"""One image of a file, not yet decoded, and how files are to be read."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from common.data.files.grids import Grid
from common.data.files.window import Window
from common.data.records import Decoded

PLANES = ("axial", "coronal", "sagittal")

Values = Integer[np.ndarray, "_height _width"]


@dataclass(frozen=True)
class Reading:
    """The settings for reading a file as images.

    Attributes:
      window: the range shown as 0 to 255; None leaves it to the file.
      plane: of the slices of volumes: "axial", "coronal" or "sagittal".
      group_tag: the DICOM attribute that names the group.
    """

    window: Window | None = None
    plane: str = "axial"
    group_tag: str = "PatientID"


def _no_grid() -> None:
    """Stands for a file that does not state its grid."""


@dataclass(frozen=True)
class FileImage:
    """One image of a file.

    Attributes:
      suffix: "" if the file is one image, else "#000", "#001", ...
      read: decodes it; raises UserError.
      read_values: reads it as a mask, with the file's own values (for a palette image the indices);
        raises UserError.
      read_group: returns the group that the file states, "" if none.
      read_grid: returns where the volume or frame lies in the patient; None if the file does not
        state it.
      doubt: what the file leaves open about its orientation, for people; "" for nothing.
    """

    suffix: str
    read: Callable[[], Decoded]
    read_values: Callable[[], Values]
    read_group: Callable[[], str] = str
    read_grid: Callable[[], Grid | None] = _no_grid
    doubt: str = ""
