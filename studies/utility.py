"""--mode=utility: does synthetic data help? The study consists of ordinary runs on folders.

For each size and seed, n real training images of each class are chosen. A GAN is trained on these
and nothing else, and draws its images; and for each arm a classifier is trained, all for equally
many steps, chosen by the same validation images and scored on the same test patients. Each of these
runs is a cell (studies/runner.py); studies/folders.py lists the files.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from classify.evaluate import evaluate, read_scored_images, scored_images
from classify.flags import ClassifyOptions
from common.config import defaults as configs
from common.data.augmentation import Augmentation
from common.data.findings import may_be_several
from common.data.prepared.prepared import DataCard, Prepared, prepare
from common.data.prepared.splits import check_division
from common.data.settings import DataSettings
from common.program.errors import DivergenceError, UserError
from common.program.files import user_path
from common.program.json_files import conform
from common.program.log import log, only_errors
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
from common.scores.classification import Predicted
from common.training.train import train
from gan.config import GANSettings
from gan.flags import GANOptions
from gan.generate import generate
from gan.state import make_gan
from studies import folders
from studies.cell import Cell, StoppedError
from studies.config import RULES, Arm, Study, read_study, run_config
from studies.finished import Figures
from studies.given import open_given, place_of, write_given
from studies.report import compare, write_results
from studies.runner import CELLS, LOG, run_cells


@dataclass(frozen=True)
class Choice:
    """The real training images of a size and a seed, in a fold if there are folds.

    Attributes:
      workdir: of the study.
      size: training images of each class, as a text.
      seed: of the choice and of all trainings.
      fold: whose patients are tested; None if the test split of the data is.
      real: the images of each class.
      images: the folder of all images, with those of val and test.
    """

    workdir: Path
    size: str
    seed: int
    fold: int | None
    real: folders.ClassFiles
    images: Path

    @property
    def name(self) -> str:
        """Returns the name of the folder in WORKDIR/cells that has all that is made of them."""
        return f"{self.size}_{self.seed}" + ("" if self.fold is None else f"_fold{self.fold}")

    @property
    def title(self) -> str:
        """Returns what the log calls them."""
        fold = "" if self.fold is None else f", fold {self.fold}"
        return f"{self.size} a class, seed {self.seed}{fold}"

    @property
    def folder(self) -> Path:
        """Returns WORKDIR/cells/NAME."""
        return self.workdir / CELLS / self.name

    @property
    def synthetic(self) -> Path:
        """Returns the folder of generated images."""
        return self.folder / "synthetic"


@dataclass(frozen=True, kw_only=True)
class Synthesis(Cell):
    """A GAN, trained on chosen images, and the images that it draws.

    Attributes:
      choice: what it is trained on.
      most: the largest number of images to draw for each real one.
    """

    choice: Choice
    most: float

    @property
    def title(self) -> str:
        """Returns what the log calls it."""
        return f"{self.choice.title}: GAN"

    def run(self, workdir: Path) -> bool:
        """Trains the GAN and draws from it; returns whether it came to its end."""
        real, made_of = self.choice.real, self.choice.folder / "real"
        folders.link_real(real, made_of)
        if not _train(self.config, workdir):
            return False
        most = max(folders.num_synthetic(real, self.most).values())
        with scratch_folder(self.choice.workdir) as scratch:  # only the study draws in cells
            made = scratch / self.choice.synthetic.name
            options = GANOptions(output=str(made), num_images=most * len(real))
            generate(open_run(workdir), options)
            # Too few, from an earlier list of arms.
            shutil.rmtree(self.choice.synthetic, ignore_errors=True)
            move_into_place(made, self.choice.synthetic)
        return True

    def is_finished(self, workdir: Path) -> bool:
        """Returns whether all images are there."""
        needed = folders.first_synthetic(self.choice.synthetic, self.choice.real, self.most)
        return all(file.exists() for files in needed.values() for file in files)

    def figures(self, workdir: Path) -> Figures:
        """Returns nothing: only the classifiers are compared."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Training(Cell):
    """A classifier, trained as an arm says on chosen and generated images.

    Attributes:
      choice: the real images.
      arm: how it is trained.
      synthetic: the generated images of each class; {} for none.
      classes: of the images.
    """

    choice: Choice
    arm: Arm
    synthetic: folders.ClassFiles
    classes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Returns what the log calls it."""
        return f"{self.choice.title}: {self.arm.label}"

    def run(self, workdir: Path) -> bool:
        """Trains and scores the classifier; returns whether it came to its end."""
        real = self.choice.real if self.arm.real else {}
        data = Path(self.config.data.dir)
        folders.link_arm(real, self.synthetic, self.choice.images, data)
        if not _train(self.config, workdir):
            return False
        evaluate(open_run(workdir), ClassifyOptions())
        return True

    def is_finished(self, workdir: Path) -> bool:
        """Returns whether there is the table that an evaluation writes last."""
        return scored_images(workdir / FOLDER).exists()

    def figures(self, workdir: Path) -> Figures:
        """Returns what it says of each test image."""
        found = read_scored_images(scored_images(workdir / FOLDER), self.classes)
        return {
            "images": list(found.ids),
            "patients": list(found.groups),
            "labels": found.labels.tolist(),
            "probabilities": found.probabilities.tolist(),
        }


def run_utility(config: ConfigDict, workdir: Path, results: str = "") -> bool:
    """Runs the study, from where it was stopped, and writes its table, figure and report.

    Returns whether it is complete; a signal may end it before.

    Args:
      config: of the study.
      workdir: of the study.
      results: a file of finished cells, see `run_cells`; "" for none.

    Raises:
      UserError: a setting is invalid, the data or the workdir can't be used, or a run failed.
      DivergenceError, FaultError: a run failed.
    """
    study = read_study(config)
    if jax.process_count() > 1:
        raise UserError("--mode=utility runs in one process; start it without --coordinator.")
    configs.check(config, RULES)
    check_owner(workdir, config)
    if not (study.folds or (workdir / RECORD).exists()):
        check_division(DataSettings.of(config.data))
    prepared = _prepare(config.data, study.folds)
    card = prepared.card
    given = open_given(study, config.data, card)
    _check(study, config, card)
    with exclusive(workdir):
        run = Run(workdir, config, card)
        check_data(run)
        claim(run)
        if card.synthetic:
            log.warning("The images are %s.", card.caption)
        kept = user_path(results) if results else None
        for number in study.looks:
            part = replace(study, seeds=study.seeds[:number])
            cells = _list_cells(part, config, prepared, given, workdir)
            try:
                outcome = run_cells(cells, workdir, kept, card.fingerprint)
            except StoppedError:
                print(
                    f"Stopped. Run the same command again to continue; {workdir}/{LOG} has details."
                )
                return False
            outcome.check()
            trained = [cell for cell in cells if isinstance(cell, Training)]
            counts = {size: _mean_count(trained, size) for size in study.sizes}
            rows = compare(part, card.classes, counts, _aligned(trained, outcome.found))
            if all(row.is_clear(study.relevant_gain) for row in rows):
                break
        tested = list(prepared.splits) if study.folds else ["test"]
        groups = [group for split in tested for group in prepared.splits[split].groups]
        print(write_results(workdir, part, card, rows, groups))
        print(f"table, figure and report: {workdir}/report.md, utility.csv, .json and .png")
    return True


def _prepare(data: ConfigDict, folds: int) -> Prepared:
    """Returns the images in the splits of the data, or in so many parts instead of them.

    The card of parts is that of the first fold.
    """
    if not folds:
        return prepare(data)
    whole = ConfigDict({**data.to_dict(), "splits": "100,0,0", "folds": folds})
    divided = [prepare(whole)]
    with only_errors():  # the first has warned
        for whole.fold in range(1, folds):
            divided.append(prepare(whole))
    parts = {f"part{fold}": one.splits["val"] for fold, one in enumerate(divided)}
    numbers = [len(part) for part in parts.values()]
    of_first = {"train": sum(numbers[2:]), "val": numbers[1], "test": numbers[0]}
    return Prepared(replace(divided[0].card, num_examples=of_first), parts)


def _check(study: Study, config: ConfigDict, card: DataCard) -> None:
    """Refuses data and networks that the study can't use."""
    for split, why in (
        ("val", "which chooses the checkpoints"),
        ("test", "which scores the arms"),
    ):
        if not study.folds and split not in card.num_examples:
            raise UserError(
                f"{card.name} has no {split} split, {why}; set --config.data.splits=70,15,15 (with"
                " --config.data.group, so that no patient is in two), or --config.study.folds=5,"
                " or --config.data.folds=10 if only val is missing."
            )
    if may_be_several(card.classes):
        raise UserError(
            f"Images of {card.name} may show several findings, of which a GAN draws none alone;"
            " name images of one class each."
        )
    gan = GANSettings.of(run_config(config.gan, config.data, 0))
    if study.most_drawn and not make_gan(gan, card).conditional:
        raise UserError(
            f"config.gan.model.name is '{config.gan.model.name}', which is unconditional; use a"
            " conditional network such as acgan."
        )
    if not study.folds:  # else the folders say how many there are
        for size in study.sizes:
            for name, count in zip(card.classes, card.class_counts, strict=True):
                folders.wanted(size, name, count)


def _list_cells(
    study: Study,
    config: ConfigDict,
    prepared: Prepared,
    given: Mapping[str, Prepared],
    workdir: Path,
) -> Sequence[Cell]:
    """Returns a GAN and the classifier of each arm, for each size and seed."""
    images, classes = folders.write_images(prepared, workdir), prepared.card.classes
    group, plain = folders.group_of(images), ConfigDict(config.classifier.to_dict())
    plain.augment = Augmentation().section
    cells: list[Cell] = []
    parts: Mapping[int | None, Path] = {None: images}
    if study.folds:
        parts = dict(enumerate(folders.link_folds(images, list(prepared.splits))))
    for size, seed, fold in product(study.sizes, study.seeds, parts):
        real = folders.choose(parts[fold], classes, size, seed)
        choice = Choice(workdir, size, seed, fold, real, parts[fold])

        def config_of(part: ConfigDict, data: Path, seed: int = seed) -> ConfigDict:
            return run_config(part, config.data, seed, dir=str(data), group=group)

        gan, most = f"{choice.name}/gan", study.most_drawn
        if most:
            own = config_of(config.gan, choice.folder / "real")
            cells.append(Synthesis(gan, own, choice=choice, most=most))
        for arm in study.arms:
            place = f"{choice.name}/arms/{place_of(arm, given)}"
            part = config.classifier if arm.augmented else plain
            own = config_of(part, workdir / CELLS / place / "data")
            synthetic: folders.ClassFiles = {}
            if arm.given:
                taken = write_given(arm.given, given[arm.given], workdir)
                synthetic = folders.choose_given(taken, real, arm, seed)
            elif arm.ratio:
                synthetic = folders.first_synthetic(choice.synthetic, real, arm.ratio)
            cells.append(
                Training(
                    f"{place}/run",
                    own,
                    (gan,) if arm.drawn else (),
                    choice=choice,
                    arm=arm,
                    synthetic=synthetic,
                    classes=classes,
                )
            )
    return cells


def _train(config: ConfigDict, workdir: Path) -> bool:
    part = "gan" if config.task == "gan" else "classifier"
    try:
        return train(config, workdir)
    except DivergenceError as error:
        raise DivergenceError(
            f"In {workdir}: {error.what}",
            f"Lower the learning rate in config.{part}.optimizer, and start the study again in"
            " another --workdir.",
        ) from error


def _mean_count(cells: Sequence[Training], size: str) -> int:
    """Returns how many real images a training of a size has; of folds, the mean."""
    counts = [sum(map(len, c.choice.real.values())) for c in cells if c.choice.size == size]
    return round(sum(counts) / len(counts))


def _aligned(
    cells: Sequence[Training], found: Mapping[str, Figures]
) -> dict[tuple[str, int, str], list[Predicted]]:
    """Returns the predictions by size, seed and arm, those of each fold in turn.

    Raises:
      UserError: those of a fold are of different images, or not predictions.
    """
    predicted: dict[tuple[str, int, str], list[Predicted]] = {}
    tested: dict[int | None, Sequence[str]] = {}
    for cell in cells:
        choice, read = cell.choice, _read(cell, found[cell.name])
        if tested.setdefault(choice.fold, read.ids) != read.ids:
            raise UserError(
                "The cells have scored different test images; remove WORKDIR/cells and run the same"
                " command again."
            )
        predicted.setdefault((choice.size, choice.seed, cell.arm.name), []).append(read)
    return predicted


def _read(cell: Training, figures: Figures) -> Predicted:
    """Returns what `Training.figures` did."""
    shape = -1, len(cell.classes)
    try:
        shares = conform(figures.get("probabilities"), tuple[tuple[float, ...], ...], "shares")
        return Predicted(
            conform(figures.get("images"), tuple[str, ...], "images"),
            conform(figures.get("patients"), tuple[str, ...], "patients"),
            np.array(conform(figures.get("labels"), tuple[int, ...], "labels")),
            np.array(shares, np.float64).reshape(shape),
        )
    except ValueError as error:
        raise UserError(
            f"The figures of cell {cell.name} are damaged: {error}; remove its line from the file"
            " of --results."
        ) from error
