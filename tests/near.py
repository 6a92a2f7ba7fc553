"""Prints which tests `make quick` runs: a fixed core, and those of the files that have changed.

A changed file is one that differs from the last commit or that Git does not know. Its tests are
the file that is named after it, or else all of its room's.
"""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = (
    "tests/test_imports.py",
    "tests/test_docs.py",
    "tests/test_settings.py",
    "tests/common/program",
    "tests/common/scores",
    "tests/common/config",
    "tests/gan/test_losses.py",
    "tests/unet/test_segmentation_scores.py",
)


def changed_files() -> list[Path]:
    """Returns the changed files, relative to the root."""
    said = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all", "--no-renames"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [Path(line[3:]) for line in said.splitlines()]


def tests_of(file: Path) -> Path | None:
    """Returns the tests of a program's or of a test's file, or None where there are none."""
    if file.suffix not in (".py", ".js", ".css"):
        return None
    if file.parts[0] == "tests":
        return file if file.name.startswith("test_") else None
    folder = "tests" / file.parent
    for path in (folder / f"test_{file.stem}.py", folder, Path("tests", f"test_{file.parent}.py")):
        if (ROOT / path).exists() and path != Path("tests"):
            return path
    return None


def near() -> list[str]:
    """Returns the paths to hand to pytest."""
    changed = {str(path) for file in changed_files() if (path := tests_of(file))}
    return sorted({*CORE, *changed})


if __name__ == "__main__":
    print(*near())
