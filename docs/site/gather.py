"""Gathers what the site shows: the documents, and a page of each file that they link to.

    python docs/site/gather.py DIR

GitHub shows every file of the repository; the site, only pages and pictures. So that the same links
work in both, code and the notebook become pages, and links lead to these.
"""

import json
import re
import shutil
import sys
from os.path import relpath
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(?<=\]\()[^)#:\s]+")  # the file in [text](file#heading)
_AS_IT_IS = {".md", ".png", ".webp", ".csv", ".css", ".js"}


def gather(target: Path) -> None:
    """Writes the pages, and the files they show, to a folder, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    docs = ROOT / "docs"
    waiting = [*docs.glob("*.md"), *docs.glob("site/*.css"), *docs.glob("site/*.js")]
    seen = set(waiting)
    for file in waiting:  # which grows
        place = target / _place(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix in _AS_IT_IS - {".md"}:
            shutil.copyfile(file, place)
            continue
        text, linked = _page(file)
        place.write_text(text)
        waiting += sorted(linked - seen)
        seen |= linked


def _place(file: Path) -> Path:
    """Returns where a file of the repository is in the site; that of docs/NAME is NAME."""
    inside = file.relative_to(ROOT)
    if inside.parts[0] == "docs":
        inside = inside.relative_to("docs")
    return inside if file.suffix in _AS_IT_IS else inside.with_name(f"{inside.name}.md")


def _page(file: Path) -> tuple[str, set[Path]]:
    """Returns a file as a page, and the files that it links to."""
    text = file.read_text()
    if file.suffix == ".ipynb":
        text = "\n\n".join(map(_cell, json.loads(text)["cells"]))
    elif file.suffix != ".md":
        return f"# {file.name}\n\n{_code(text)}", set()
    linked = set()

    def moved(link: re.Match[str]) -> str:
        other = (file.parent / link[0]).resolve()
        if not other.is_file():  # a line of code that looks like a link
            return link[0]
        linked.add(other)
        return relpath(_place(other), _place(file).parent)

    return _LINK.sub(moved, text), linked


def _cell(cell: dict[str, Any]) -> str:
    """Returns a cell of a notebook as Markdown."""
    text = "".join(cell["source"])
    return text if cell["cell_type"] == "markdown" else _code(text)


def _code(text: str) -> str:
    return f"~~~~python\n{text}\n~~~~"


if __name__ == "__main__":
    gather(Path(sys.argv[1]))
