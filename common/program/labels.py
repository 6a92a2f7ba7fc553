"""Labels are data: how they become names of folders and files.

A label may be any text, "../x", "CON" or "benign/atypical". Its folder's name is the label itself
if Linux, macOS and Windows all accept it; otherwise forbidden characters are percent-encoded as
in web addresses: "..%2Fx", "%43ON", "benign%2Fatypical". `labels.csv` has the labels themselves.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from urllib.parse import unquote_to_bytes

from common.program.errors import UserError

_LONGEST = 255 - len("_probability_000.nii.gz")  # bytes: of a file's name that holds the label's
_FORBIDDEN = frozenset('<>:"/\\|?*%')
_NOT_FIRST = frozenset(".-~ _@")  # hidden, a flag, a home; readers skip __MACOSX and @eaDir
_NOT_LAST = frozenset(". ")
# Names that Windows takes for a device, even with an ending.
_DEVICES = frozenset(
    [
        *("con", "prn", "aux", "nul", "conin$", "conout$"),
        *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"),
    ]
)
# Names of splits in data folders.
_OF_READERS = frozenset(
    [
        *("train", "training", "val", "valid", "validation", "test", "testing"),
        *("image", "images", "mask", "masks", "label", "labels", "target", "targets"),
    ]
)
_EMPTY = "%"


def check_labels(labels: Sequence[str]) -> None:
    """Refuses labels that tables and folders can't hold.

    Raises:
      UserError: one is empty, begins or ends with a space, is not text, or is too long for a
        folder's name.
    """
    for label in labels:
        if any(unicodedata.category(letter) == "Cs" for letter in label):
            raise UserError(f"The label {label!r} is not UTF-8 text; correct it.")
        if label != label.strip() or not label:
            raise UserError(
                f"The label {label!r} is empty, or begins or ends with a space; correct it where"
                " the images' classes are named."
            )
    folder_names(labels)


def folder_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Returns a name for each label that can be a folder's name or part of a file's name.

    Names differ even where case and the spelling of accents are ignored: of "COVID" and "covid"
    the second is percent-encoded throughout.

    Raises:
      UserError: one is too long.
    """
    names, known = [], set()
    for label in labels:
        name = _folder_name(label)
        if key_of(name) in known:
            name = _in_numbers(label)
        if len(_encoded(name)) > _LONGEST:
            raise UserError(
                f"The label {label[:40]!r}... is too long for a folder's name; shorten it to"
                " 100 characters where the images' classes are named."
            )
        known.add(key_of(name))
        names.append(name)
    return tuple(names)


def label_of(name: str) -> str:
    """Returns the label behind a name from `folder_names`."""
    return "" if name == _EMPTY else unquote_to_bytes(_encoded(name)).decode(errors="surrogatepass")


def _folder_name(label: str) -> str:
    """Returns a label with forbidden characters percent-encoded: "%2F" for "/"."""
    if not label:
        return _EMPTY
    device = label.partition(".")[0].rstrip(" ").casefold() in _DEVICES
    quoted = {place for place, letter in enumerate(label) if _is_forbidden(letter)}
    if device or label[0] in _NOT_FIRST or label.casefold() in _OF_READERS:
        quoted.add(0)
    if label[-1] in _NOT_LAST:
        quoted.add(len(label) - 1)
    if (
        "." in label and label.rpartition(".")[2].isalpha()
    ):  # "labels.csv" is a file beside the folders
        quoted.add(label.rfind("."))
    return "".join(
        _in_numbers(letter) if place in quoted else letter for place, letter in enumerate(label)
    )


def _is_forbidden(letter: str) -> bool:
    # Control characters, surrogates, and ends of lines and paragraphs.
    return letter in _FORBIDDEN or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")


def _in_numbers(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in _encoded(text))


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def key_of(name: str) -> str:
    """Returns a key that is equal for names that a case-insensitive system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
