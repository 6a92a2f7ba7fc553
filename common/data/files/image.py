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
    """The settings that say how a file becomes images.

    Attributes:
      window: what is shown as 0 to 255; None leaves it to the file.
      plane: in which volumes are cut: "axial", "coronal" or "sagittal".
      group_tag: the DICOM attribute that names the group.
    """

    window: Window | None = None
    plane: str = "axial"
    group_tag: str = "PatientID"


def _no_grid() -> None:
    """Says that a file does not know where it lies."""


@dataclass(frozen=True)
class FileImage:
    """One image of a file.

    Attributes:
      suffix: "" where the file is one image, else "#000", "#001", ...
      read: decodes it; raises UserError.
      read_values: reads it as a mask, the file's own values unchanged (of a palette image the
        indices); raises UserError.
      read_group: the file's own statement of whom it is of, "" where it makes none.
      read_grid: where the volume or the frame lies in the patient; None where the file can't say.
      doubt: what the file leaves open of how it lies, for people; "" for nothing.
    """

    suffix: str
    read: Callable[[], Decoded]
    read_values: Callable[[], Values]
    read_group: Callable[[], str] = str
    read_grid: Callable[[], Grid | None] = _no_grid
    doubt: str = ""
