"""--mode=utility: does synthetic data help? The study consists of ordinary runs on folders.

Each size and seed is a cell: n real training images of each class; a GAN trained on these and
nothing else; its images; and for each arm a classifier, all trained for equally many steps, chosen
by the same validation images and scored on the same test patients. What a cell already has is not
computed again. studies/folders.py lists the files.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import jax
from ml_collections import ConfigDict

from classify.evaluate import evaluate, read_scored_images, scored_images
from classify.scores import Predicted
from common.config import defaults as configs
from common.data.augmentation import default_augmentation
from common.data.prepared.prepared import DataCard, Prepared, prepare
from common.data.prepared.splits import check_division
from common.program.errors import DivergenceError, UserError
from common.program.log import log
from common.program.options import Options
from common.program.scratch import move_into_place, scratch_folder
from common.runs.evaluation import FOLDER
from common.runs.workdir import (
    RECORD,
    Run,
    check_data,
    check_owner,
    claim,
    exclusive,
    open_run,
)
from common.training.train import train
from gan.generate import generate
from gan.state import make_gan
from studies import folders
from studies.config import RULES, Arm, Study, read_study, run_config
from studies.progress import Progress
from studies.report import write_results

_LOG = "log.txt"


class _StoppedError(Exception):
    """A signal ended a training."""


@dataclass(frozen=True)
class Cell:
    """A size and a seed.

    Attributes:
      config: of the study.
      card: of its data.
      images: the folder of all images.
      folder: of the cell.
      size: training images of each class, as a text.
      seed: of the choice of images and of all trainings.
    """

    config: ConfigDict
    card: DataCard
    images: Path
    folder: Path
    size: str
    seed: int

    @property
    def chosen(self) -> folders.ClassFiles:
        """Returns the real training images of each class."""
        return folders.choose(self.images, self.card.classes, self.size, self.seed)

    @property
    def synthetic(self) -> Path:
        """Returns the folder of generated images."""
        return self.folder / "synthetic"

    def run_of(self, arm: Arm) -> Path:
        """Returns the workdir of an arm's classifier."""
        return self.folder / "arms" / arm.name / "run"

    def scored(self, arm: Arm) -> Path:
        """Returns the table that an arm's evaluation writes last."""
        return scored_images(self.run_of(arm) / FOLDER)

    def config_of(self, part: ConfigDict, data: Path) -> ConfigDict:
        """Returns the config of a run on a folder of this cell."""
        return run_config(
            part, self.config.data, self.seed, dir=str(data), group=folders.group_of(self.images)
        )


def run_utility(config: ConfigDict, workdir: Path, *, profile: bool = False) -> bool:
    """Runs the study, from where it was stopped, and writes its table, figure and report.

    Returns whether it is complete; a signal may end it before.

    Raises:
      UserError: a setting is invalid, or the data or the workdir can't be used.
    """
    study = read_study(config)
    if profile:
        raise UserError("--profile is for one training, but a study has many; leave it out.")
    if jax.process_count() > 1:
        raise UserError("--mode=utility runs in one process; start it without --coordinator.")
    configs.check(config, RULES)
    check_owner(workdir, config)
    if not (workdir / RECORD).exists():
        check_division(config.data)
    prepared = prepare(config.data)
    card = prepared.card
    _check(study, config, card)
    with exclusive(workdir):
        run = Run(workdir, config, card)
        check_data(run)
        claim(run)
        if card.synthetic:
            log.warning("The images are %s.", card.caption)
        cells = _open_cells(study, config, prepared, workdir)
        try:
            _run_cells(cells, study, workdir)
        except _StoppedError:
            print(f"Stopped. Run the same command again to continue; {workdir}/{_LOG} has details.")
            return False
        found = {
            (cell.size, cell.seed, arm.name): read_scored_images(cell.scored(arm), card.classes)
            for cell in cells
            for arm in study.arms
        }
        groups = prepared.splits["test"].groups
        counts = {cell.size: sum(map(len, cell.chosen.values())) for cell in cells}
        print(write_results(workdir, study, card, counts, _aligned(found), groups))
        print(f"table, figure and report: {workdir}/report.md, utility.csv, .json and .png")
    return True


def _check(study: Study, config: ConfigDict, card: DataCard) -> None:
    """Refuses data and networks that the study can't use."""
    for split, why in (
        ("val", "which chooses the checkpoints"),
        ("test", "which scores the arms"),
    ):
        if split not in card.num_examples:
            raise UserError(
                f"{card.name} has no {split} split, {why}; set --config.data.splits=70,15,15 (with"
                " --config.data.group, so that no patient is in two), or"
                " --config.data.folds=10 if only val is missing."
            )
    gan_config = run_config(config.gan, config.data, 0)
    if study.most_synthetic and not make_gan(gan_config, card).conditional:
        raise UserError(
            f"config.gan.model.name is '{config.gan.model.name}', which is unconditional; use a"
            " conditional network such as acgan."
        )
    for size in study.sizes:
        for name, count in zip(card.classes, card.class_counts, strict=True):
            folders.wanted(size, name, count)


def _open_cells(
    study: Study, config: ConfigDict, prepared: Prepared, workdir: Path
) -> Sequence[Cell]:
    images = folders.write_images(prepared, workdir)
    place = workdir / "cells"
    return [
        Cell(config, prepared.card, images, place / f"{size}_{seed}", size, seed)
        for size in study.sizes
        for seed in study.seeds
    ]


def _run_cells(cells: Sequence[Cell], study: Study, workdir: Path) -> None:
    """Computes what is missing, and logs the progress before each run."""
    waiting = [(cell, arm) for cell in cells for arm in (None, *study.arms)]
    waiting = [(cell, arm) for cell, arm in waiting if not _is_done(cell, study, arm)]
    progress = Progress(["gan" if arm is None else "classifier" for _, arm in waiting])
    for cell, arm in waiting:
        kind, what = ("gan", "GAN") if arm is None else ("classifier", arm.name)
        which = (
            f"cell {cells.index(cell) + 1} of {len(cells)} ({cell.size} a class, seed {cell.seed})"
        )
        with progress.timed(kind, f"{which}: {what}"), _output_to(workdir / _LOG):
            if arm is None:
                _synthesise(cell, study)
            else:
                _classify(cell, arm)


def _is_done(cell: Cell, study: Study, arm: Arm | None) -> bool:
    if arm is not None:
        return cell.scored(arm).exists()
    needed = folders.first_synthetic(cell.synthetic, cell.chosen, study.most_synthetic)
    return not study.most_synthetic or all(f.exists() for files in needed.values() for f in files)


def _synthesise(cell: Cell, study: Study) -> None:
    """Trains the cell's GAN on the cell's real images and draws from it."""
    real, gan = cell.folder / "real", cell.folder / "gan"
    folders.link_real(cell.chosen, real)
    _train(cell.config_of(cell.config.gan, real), gan)
    most = max(folders.num_synthetic(cell.chosen, study.most_synthetic).values())
    with scratch_folder(cell.images.parent) as scratch:  # in cells only the study generates
        made = scratch / cell.synthetic.name
        generate(open_run(gan), Options(output=str(made), num_images=most * len(cell.chosen)))
        shutil.rmtree(cell.synthetic, ignore_errors=True)  # too few, from an earlier list of arms
        move_into_place(made, cell.synthetic)


def _classify(cell: Cell, arm: Arm) -> None:
    """Trains and scores the classifier of an arm."""
    train_on = [cell.chosen] if arm.real else []
    if arm.ratio:
        train_on.append(folders.first_synthetic(cell.synthetic, cell.chosen, arm.ratio))
    data = cell.folder / "arms" / arm.name / "data"
    folders.link_arm(train_on, cell.images, data)
    part = ConfigDict(cell.config.classifier.to_dict())
    if not arm.augmented:
        part.augment = default_augmentation()
    _train(cell.config_of(part, data), cell.run_of(arm))
    evaluate(open_run(cell.run_of(arm)), Options())


def _train(config: ConfigDict, workdir: Path) -> None:
    part = "gan" if config.task == "gan" else "classifier"
    try:
        if not train(config, workdir):
            raise _StoppedError
    except DivergenceError as error:
        raise DivergenceError(
            f"In {workdir}: {error.what}",
            f"Lower the learning rate in config.{part}.optimizer, and start the study again in"
            " another --workdir.",
        ) from error


def _aligned(found: dict[tuple[str, int, str], Predicted]) -> dict[tuple[str, int, str], Predicted]:
    """Returns the predictions; refuses them unless all are of the same images, in one order."""
    first = next(iter(found.values()))
    if any(one.ids != first.ids for one in found.values()):
        raise UserError(
            "The cells have scored different test images; remove WORKDIR/cells and run the same"
            " command again."
        )
    return found


@contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Sends the output of runs to a file: the study itself reports the progress."""
    handlers = log.handlers
    with file.open("a") as stream, redirect_stdout(stream), redirect_stderr(stream):
        log.handlers = [logging.StreamHandler(stream)]
        try:
            yield
        finally:
            log.handlers = handlers
