"""Checks types and shapes at run time, in each file that states shapes.

Mypy knows all other types. To check those at run time, too, takes a fifteenth of the suite's time:
each function that is checked is compiled once more at import, and bound anew at each call.
"""

from pathlib import Path

from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("common", "gan", "unet", "classify", "translate", "studies")


def files() -> list[str]:
    """Returns the names of the modules that state shapes."""
    found = (file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py")))
    return [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in found
        if "from jaxtyping import" in file.read_text()
    ]


def check_shapes() -> None:
    """Checks what is imported from now on."""
    install_import_hook(files(), "beartype.beartype")
