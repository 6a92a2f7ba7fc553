"""Changes one place of the program at a time, and looks whether a test fails.

    python -m tests.mutants --results=mutants.jsonl [--sample=300] [--minutes=60] [FILE ...]

A test suite that passes says little unless it fails when the program is wrong. Of all places of the
files (default: the GAN's losses and steps, the scores, and training) where a comparison, an
operation, a number or a condition can be changed, a sample is drawn, the same for the same seed.
Each is tried in a copy of the last commit, by the tests that are named after the file, then by
those of its folder. The same command goes on with the places that the results lack, and ends with
those that no test noticed.
"""

import argparse
import ast
import copy
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.near import ROOT, tests_of

SOURCES = ("gan/losses.py", "gan/steps.py", "common/scores/*.py", "common/training/*.py")
SECONDS = 900  # after which a test that hangs counts as failed

_OTHER: dict[type[ast.AST], type[ast.AST]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult},
}


class Mutant(NamedTuple):
    """One change: what stands at a place of a file, and what shall stand there instead."""

    file: str
    line: int
    column: int
    start: int
    end: int
    before: str
    after: str

    @property
    def name(self) -> str:
        """Returns what it is known by in the results."""
        return f"{self.file}:{self.line}:{self.column}: {self.before} -> {self.after}"


def mutants_of(file: str, text: str) -> list[Mutant]:
    """Returns all mutants of a file, in the order of their places."""
    lines = text.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    found = []
    for node in _expressions(ast.parse(text)):
        for changed in _changes(node):
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
            before = " ".join(text.encode()[start:end].decode().split())
            place = file, node.lineno, node.col_offset + 1, start, end
            found.append(Mutant(*place, before, f"({ast.unparse(changed)})"))
    return sorted(set(found))


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Yields the expressions that are computed when the program runs: no hints, no decorators."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr):  # a text has no places of its own
                continue
            if isinstance(child, ast.expr):
                yield child
            if isinstance(child, ast.AST):
                yield from _expressions(child)


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[first, *_]) if type(first) in _OTHER:
            new.ops[0] = _OTHER[type(first)]()
            yield new
        case ast.BinOp() | ast.BoolOp() if type(new.op) in _OTHER:
            new.op = _OTHER[type(new.op)]()
            yield new
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield new.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not new.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(new.value + 1)
        case ast.IfExp():
            yield ast.IfExp(ast.UnaryOp(ast.Not(), new.test), new.body, new.orelse)


def sample_of(mutants: list[Mutant], num: int, seed: int) -> list[Mutant]:
    """Returns so many mutants, the same for the same seed; of a larger sample, the first ones."""
    return random.Random(seed).sample(mutants, len(mutants))[:num]


def noticed_by(mutant: Mutant, copied: Path) -> str:
    """Returns the first test that fails with a mutant in place, or "" if all pass."""
    place = copied / mutant.file
    whole = place.read_bytes()
    try:
        place.write_bytes(whole[: mutant.start] + mutant.after.encode() + whole[mutant.end :])
        named = tests_of(Path(mutant.file))
        folder = "tests" / Path(mutant.file).parent
        for tests in dict.fromkeys(str(path) for path in (named, folder) if path):
            if failed := _first_failure(tests, copied):
                return failed
        return ""
    finally:
        place.write_bytes(whole)


def _first_failure(tests: str, copied: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", tests]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=copied,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{tests}: no end within {SECONDS} seconds"
    if done.returncode == 0:
        return ""
    said = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return said[0].split(" - ")[0] if said else f"{tests}: exit code {done.returncode}"


def main() -> None:
    """Tries what the results lack, and prints what was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("files", nargs="*", default=SOURCES)
    args = parser.parse_args()
    files = sorted(path for pattern in args.files for path in ROOT.glob(pattern))
    mutants = [
        mutant
        for path in files
        for mutant in mutants_of(str(path.relative_to(ROOT)), path.read_text())
    ]
    chosen, end = sample_of(mutants, args.sample, args.seed), time.monotonic() + 60 * args.minutes
    lines = args.results.read_text().splitlines() if args.results.exists() else []
    known = {row["mutant"]: row["noticed_by"] for row in map(json.loads, lines)}
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "copy"
        subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, copied], check=True)
        for mutant in chosen:
            if mutant.name in known or time.monotonic() > end:
                continue
            known[mutant.name] = noticed_by(mutant, copied)
            with args.results.open("a") as out:
                row = {"mutant": mutant.name, "noticed_by": known[mutant.name]}
                out.write(json.dumps(row) + "\n")
            print(mutant.name, "|", known[mutant.name] or "NOT NOTICED", flush=True)
    tried = [mutant for mutant in chosen if mutant.name in known]
    missed = [mutant.name for mutant in tried if not known[mutant.name]]
    print(f"{len(mutants)} places, {len(tried)} tried, {len(tried) - len(missed)} noticed; not:")
    print(*missed, sep="\n")


if __name__ == "__main__":
    main()
