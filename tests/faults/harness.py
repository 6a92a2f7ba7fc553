"""Runs a mode under a fault, and again without: what was said, and whether all is as it should be.

Everything happens in this process, which must have been started with the library of shim.c.
"""

import contextlib
import ctypes
import io
import json
import logging
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jax
import numpy as np
from PIL import Image

from common.config.tasks import find_mode, options_of
from common.program.accidents import told_in
from common.program.command_line import guarded
from common.program.files import sha256_of
from common.program.log import talk
from common.program.written import RECORD
from common.runs.workdir import open_run
from common.training import writers
from common.training.loop import Loop
from common.training.train import train
from configs import small_cnn_chest_xray, toy_gan_1d
from tests.checkpoint_leaves import read_leaves
from tests.faults.cases import Fault

MODES = ("generate", "evaluate", "predict")
STEPS = 6


@dataclass(frozen=True)
class Outcome:
    """What came of a fault.

    Attributes:
      fault: it.
      code: the exit code.
      sentence: what was said of it; "" where it did no harm.
      wrong: what is not as it should be; "" if all is.
    """

    fault: Fault
    code: int
    sentence: str
    wrong: str


class Harness:
    """A trained GAN and a trained classifier in a folder, to be copied and damaged."""

    def __init__(self, folder: Path, library: Path) -> None:
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        writers.Writers._tensorboard = Mock()  # TensorFlow takes ten seconds to import
        jax.config.update("jax_disable_most_optimizations", True)
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        self._shim = ctypes.CDLL(str(library))
        self._folder = folder
        draw = np.random.default_rng(0)
        (folder / "images").mkdir(parents=True)
        for number in range(3):
            pixels = draw.integers(0, 256, (32, 32), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        self._whole = {name: folder / name for name in ("gan", "classifier")}
        self._wanted: dict[str, Any] = {}
        for name, place in self._whole.items():
            self._train(name, place)
        self._mode(
            "evaluate", self._whole["classifier"], self._whole["classifier"] / "run/evaluation"
        )
        verdict = {"memorized": False, "can_tell": True, "verdict": "It repeats none."}
        report = json.dumps({"checkpoint_step": STEPS, "memorization": verdict})
        (self._whole["gan"] / "run" / "evaluation").mkdir()
        (self._whole["gan"] / "run" / "evaluation" / "evaluation.json").write_text(report)
        self._wanted["train"] = _state(self._whole["gan"] / "run")
        for mode in MODES:
            place = "gan" if mode == "generate" else "classifier"
            out = self._folder / f"wanted-{mode}" / "out"
            self._mode(mode, self._whole[place], out)
            self._wanted[mode] = _content(out)

    def run(self, fault: Fault) -> Outcome:
        """Runs the mode under the fault, then the same command without it."""
        place = self._folder / "tried"
        shutil.rmtree(place, ignore_errors=True)
        jax.clear_caches()  # each run compiles anew; a process may map 65,530 pieces of memory
        name = "gan" if fault.mode in ("train", "generate") else "classifier"
        resumed = fault.damage is not None or (fault.calls is not None and fault.calls[0] == "read")
        if resumed or fault.mode != "train":
            shutil.copytree(self._whole[name], place)
        if fault.damage:
            fault.damage(place / "run", place)
        code, said = self._attempt(fault, name, place)
        wrong = _wrong_words(code, said)
        told = "was changed after this run wrote it" in said
        if code == 0 and not wrong and not told and not self._same(fault, place):
            wrong = "exit 0 and another result"
        if fault.damage is None and not wrong:
            wrong = self._again(fault, name, place)
        sentences = re.findall(r"^\S+: (.*)$", said, re.MULTILINE) if code else []
        return Outcome(fault, code, sentences[-1] if sentences else "", wrong)

    def _attempt(self, fault: Fault, name: str, place: Path) -> tuple[int, str]:
        calls = fault.calls or ("", "", 0, 0)
        with _removed_after(3, place / "run") if fault.removes else contextlib.nullcontext():
            self._set(*calls)
            try:
                return self._said(fault.mode, name, place)
            finally:
                self._set("", "", 0, 0)

    def _again(self, fault: Fault, name: str, place: Path) -> str:
        """Says what is wrong with the same command, now that nothing fails any more."""
        shutil.rmtree(place / "out", ignore_errors=True)
        code, said = self._said(fault.mode, name, place)
        if code:
            return f"again: exit {code}: {said[-300:]}"
        return "" if self._same(fault, place) else "again: another result"

    def _same(self, fault: Fault, place: Path) -> bool:
        if fault.mode != "train":
            return self._wanted[fault.mode] == _content(place / "out")
        wanted, logged = self._wanted["train"]
        found, rows = _state(place / "run")
        # Of damaged numbers those that can be read are kept.
        return found == wanted and (
            rows == logged if fault.damage is None else all(row in logged for row in rows)
        )

    def _set(self, call: str, part: str, number: int, first: int) -> int:
        return int(self._shim.fault(call.encode(), part.encode(), number, first))

    def _said(self, mode: str, name: str, place: Path) -> tuple[int, str]:
        said, code = io.StringIO(), 0
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            talk(this_process=True)
            try:
                if mode == "train":
                    guarded(lambda: self._train(name, place))
                else:
                    guarded(lambda: self._mode(mode, place, place / "out"))
            except SystemExit as leaving:
                code = int(leaving.code or 0)
        return code, said.getvalue()

    def _train(self, name: str, place: Path) -> None:
        module = toy_gan_1d if name == "gan" else small_cnn_chest_xray
        config = module.get_config("tiny")
        config.data.cache_dir = str(place / "cache")
        config.train.update(num_steps=str(STEPS), eval_every="0", best_metric="")
        with told_in(place / "run"):
            train(config, place / "run")

    def _mode(self, mode: str, place: Path, out: Path) -> None:
        given = {"generate": {"num_images": 3}, "predict": {"input": str(self._folder / "images")}}
        with told_in(place / "run"):
            run = open_run(place / "run")
            config = run.config.copy_and_resolve_references()
            config.data.cache_dir = str(place / "cache")
            run = type(run)(run.workdir, config, run.card)
            options = options_of(config.task)(output=str(out), **given.get(mode, {}))
            find_mode(config.task, mode)(run, options)


@contextlib.contextmanager
def _removed_after(step: int, workdir: Path):
    due = Loop._due

    def removing(self, now, stop):
        if now == step:
            shutil.rmtree(workdir)
        return due(self, now, stop)

    Loop._due = removing
    try:
        yield
    finally:
        Loop._due = due


def _wrong_words(code: int, said: str) -> str:
    """Says what is wrong with the words: no traceback, one sentence where something went wrong."""
    if "Traceback" in said:
        return "a traceback"
    sentences = [line for line in said.splitlines() if line.startswith(f"{sys.argv[0]}: ")]
    if code not in (0, 2):
        return f"exit {code}: {said[-300:]}"
    if code == 2 and len(sentences) != 1:
        return f"{len(sentences)} sentences"
    return ""


def _state(workdir: Path) -> tuple[dict[str, bytes], list[dict[str, float]]]:
    """Returns all leaves of the last checkpoint and what was logged, apart from times."""
    leaves = {path: leaf.tobytes() for path, leaf in read_leaves(workdir, STEPS).items()}
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    logged = [{k: v for k, v in row.items() if not k.startswith("timing/")} for row in rows]
    return leaves, logged


def _content(folder: Path) -> object:
    """Returns the checksum of each file that a mode has written; the record of them holds times."""
    return {
        file.relative_to(folder).as_posix(): sha256_of(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".html" and file.name != RECORD
    }
