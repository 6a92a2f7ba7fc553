"""Counts the signatures of the program that name a type, such as one that says nothing.

    python -m tests.signatures Any
    python -m tests.signatures ConfigDict

A signature is what a `def` says of its parameters and of what it returns.
"""

import ast
import sys
from collections import Counter

from tests.conftest import ROOT

PLACES = ("gan", "unet", "classify", "translate", "pretrain", "studies", "common", "launch.py")


def annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    """Returns the annotations of a function's parameters and of what it returns."""
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    found = [function.returns, *(one.annotation for one in parameters if one is not None)]
    return [annotation for annotation in found if annotation is not None]


def names(annotation: ast.expr) -> set[str]:
    """Returns every name in an annotation, also in one that is written as a text."""
    found = set()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(node.value.replace("[", " ").replace("]", " ").replace(",", " ").split())
    return found


def count(name: str) -> tuple[Counter[str], Counter[str]]:
    """Returns the signatures that say this name, and all signatures, by file."""
    saying: Counter[str] = Counter()
    every: Counter[str] = Counter()
    for place in PLACES:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    where = str(file.relative_to(ROOT))
                    every[where] += 1
                    saying[where] += any(name in names(one) for one in annotations(node))
    return saying, every


def main(name: str = "Any") -> None:
    """Prints how many signatures say a name, their share, and the files with most of them."""
    saying, every = count(name)
    share = saying.total() / every.total()
    print(f"{saying.total()} of {every.total()} signatures say {name}: {share:.1%}")
    for file, number in saying.most_common():
        if number:
            print(f"  {number:3} of {every[file]:3}  {file}")


if __name__ == "__main__":
    main(*sys.argv[1:])
