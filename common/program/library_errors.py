"""What went wrong in a library that says it in words alone, as XLA, Orbax and Pillow do.

Only here is a program's behaviour decided by the text of an error.
"""

import os
import re
from collections.abc import Iterable


def is_out_of_memory(error: BaseException) -> bool:
    """Says whether memory ran out, that of a device included."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def lacks_compile_option(error: BaseException) -> bool:
    """Says whether this version of XLA does not know an option that it was given."""
    return "No such compile option" in str(error)


def told_number(error: BaseException, numbers: Iterable[int]) -> int | None:
    """Returns the first of these errors of the system whose sentence the message repeats."""
    return next((number for number in numbers if os.strerror(number) in str(error)), None)


def pixels_of(error: BaseException) -> int:
    """Returns how many pixels Pillow's DecompressionBombError counts."""
    return int(re.findall(r"\d+", str(error))[0])
