"""The folders that the study's runs read: images written once, and links to them in every cell.

WORKDIR/images/{train,val,test}/CLASS/patient0003_image000012.png    if patients are known
WORKDIR/images/{train,val,test}/CLASS/image000012.png                if they are not
WORKDIR/images/images.csv                                            which image each is
WORKDIR/folds/0/{train,val,test}/CLASS/*.png                         with `study.folds`: links
WORKDIR/cells/50_0/real/CLASS/*.png                                  50 of each class, seed 0
WORKDIR/cells/50_0/synthetic/CLASS/000000.png                        drawn by its GAN
WORKDIR/cells/50_0/arms/real+1/data/{train,val,test}/CLASS/*.png     what this arm reads
WORKDIR/given/                                                       see given.py
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common.data.prepared.prepared import Prepared
from common.data.sources.listing import TABLE
from common.program.errors import UserError
from common.program.labels import folder_names
from common.program.scratch import move_into_place, scratch_folder
from common.program.words import counted
from common.report.images import write_picture
from common.runs.evaluation import write_table
from studies.config import ALL, Arm

# An image's patient, by its name; a synthetic one has none.
_GROUP = r"^(patient\d+)_|^synthetic"
IMAGES, FOLDS = "images", "folds"

ClassFiles = Mapping[str, Sequence[Path]]


def write_images(prepared: Prepared, workdir: Path) -> Path:
    """Returns the folder of all images in the study's size; writes them unless it exists.

    Patients and images are numbered; images.csv says which is which. If patients are known, an
    image without one counts as a patient.
    """
    folder = workdir / IMAGES
    if folder.exists():
        return folder
    names = {split: part.owners for split, part in prepared.splits.items()}
    known = any(group for part in prepared.splits.values() for group in part.groups)
    everybody = {name for some in names.values() for name in some}
    patient = {name: number for number, name in enumerate(sorted(everybody))}
    classes, rows = folder_names(prepared.card.classes), []
    with scratch_folder(workdir) as scratch, ThreadPoolExecutor() as pool:
        written = scratch / IMAGES
        for split, part in prepared.splits.items():
            for name in classes:
                (written / split / name).mkdir(parents=True)
            examples = part.read(range(len(part)))
            files = []
            for row, label in enumerate(examples["label"]):
                number = patient[names[split][row]]
                prefix = f"patient{number:04d}_" if known else ""
                file = f"{split}/{classes[label]}/{prefix}image{row:06d}.png"
                files.append(written / file)
                rows.append({"file": file, "image": part.ids[row], "patient": part.groups[row]})
            list(pool.map(write_picture, files, examples["image"]))
        write_table(written / "images.csv", rows)
        move_into_place(written, folder)
    return folder


def link_folds(images: Path, parts: Sequence[str]) -> Sequence[Path]:
    """Returns for each part of the images a folder in which it is test and the next one is val.

    Args:
      images: what `write_images` made of parts instead of splits.
      parts: their names.
    """
    folders = [images.parent / FOLDS / str(fold) for fold in range(len(parts))]
    for fold, folder in enumerate(folders):
        if folder.exists():
            continue
        with scratch_folder(folder.parent) as scratch:
            made = scratch / folder.name
            for place, part in enumerate(parts):
                after = (place - fold) % len(parts)
                split = ("test", "val")[after] if after < 2 else "train"
                for path in (images / part).glob("*/*.png"):
                    inner = Path(split, path.parent.name, f"{path.stem}_{part}.png")
                    (made / inner.parent).mkdir(parents=True, exist_ok=True)
                    (made / inner).symlink_to(os.path.relpath(path, (folder / inner).parent))
            move_into_place(made, folder)
    return folders


def group_of(images: Path) -> str:
    """Returns the config.data.group of the study's runs; "" if patients are unknown."""
    return _GROUP if any(images.glob("*/*/patient*.png")) else ""


def choose(images: Path, classes: Sequence[str], size: str, seed: int) -> ClassFiles:
    """Returns the training images of a size and a seed; a larger size contains a smaller one."""
    chosen = {}
    for label, (name, folder) in enumerate(zip(classes, folder_names(classes), strict=True)):
        files = sorted((images / "train" / folder).glob("*.png"))
        order = np.random.default_rng([seed, label]).permutation(len(files))
        chosen[name] = [files[place] for place in order[: wanted(size, name, len(files))]]
    return chosen


def choose_given(images: Path, real: ClassFiles, arm: Arm, seed: int) -> ClassFiles:
    """Returns the images that an arm takes of a folder; a larger choice contains a smaller one.

    Args:
      images: what `write_images` made of the folder.
      real: the real images of each class.
      arm: it says how many there are for each real one.
      seed: of the choice.

    Raises:
      UserError: there are fewer.
    """
    shuffled, counts = choose(images, tuple(real), ALL, seed), num_synthetic(real, arm.ratio)
    for name, files in shuffled.items():
        if len(files) < counts[name]:
            raise UserError(
                f"config.study.arms has '{arm.name}', which needs"
                f" {counted(counts[name], 'image')} of class {name} for {len(real[name])} real"
                f" ones, but {arm.given} has {len(files)}; add some, or lower the ratio or"
                " config.study.sizes."
            )
    return {name: files[: counts[name]] for name, files in shuffled.items()}


def wanted(size: str, name: str, available: int) -> int:
    """Returns how many images of a class a size means.

    Args:
      size: a number, or "all".
      name: of the class.
      available: training images of it.

    Raises:
      UserError: there are fewer.
    """
    number = available if size == ALL else int(size)
    if number > available:
        raise UserError(
            f"config.study.sizes has {size}, but class {name} has"
            f" {counted(available, 'training image')}; write at most {available}, or '{ALL}'."
        )
    return number


def link_real(chosen: ClassFiles, folder: Path) -> None:
    """Makes CLASS/*.png and labels.csv of the chosen images, unless the folder exists."""
    if not folder.exists():
        with scratch_folder(folder.parent) as scratch:
            made = scratch / folder.name
            rows = _link(chosen, folder, made, "")
            write_table(made / TABLE, rows)
            move_into_place(made, folder)


def link_arm(real: ClassFiles, synthetic: ClassFiles, images: Path, folder: Path) -> None:
    """Makes {train,val,test}/CLASS/*.png and labels.csv, unless the folder exists.

    Args:
      real: images to train on; {} for none.
      synthetic: more of them, which have no patients; {} for none.
      images: what `write_images` made of the study's images.
      folder: to make.
    """
    if folder.exists():
        return
    classes = tuple(real or synthetic)
    with scratch_folder(folder.parent) as scratch:
        made = scratch / folder.name
        rows = _link(real, folder, made, "train/")
        rows += _link(synthetic, folder, made, "train/", "synthetic")
        for split in ("val", "test"):
            (made / split).symlink_to(os.path.relpath(images / split, folder))
            for name, inner in zip(classes, folder_names(classes), strict=True):
                files = sorted(path.name for path in (images / split / inner).glob("*.png"))
                rows += [
                    {"file": f"{split}/{inner}/{file}", "label": name, "split": split}
                    for file in files
                ]
        write_table(made / TABLE, rows)
        move_into_place(made, folder)


def first_synthetic(folder: Path, chosen: ClassFiles, ratio: float) -> ClassFiles:
    """Returns synthetic images of each class, `ratio` times as many as there are real ones."""
    counts = num_synthetic(chosen, ratio)
    return {
        name: [folder / inner / f"{number:06d}.png" for number in range(counts[name])]
        for name, inner in zip(counts, folder_names(counts), strict=True)
    }


def num_synthetic(chosen: ClassFiles, ratio: float) -> dict[str, int]:
    """Returns how many synthetic images of each class are wanted, at least one."""
    return {name: max(1, round(ratio * len(files))) for name, files in chosen.items()}


def _link(
    files: ClassFiles, place: Path, made: Path, below: str, prefix: str = ""
) -> list[dict[str, str]]:
    """Makes links in a folder that will be moved to its place; returns the rows of its table.

    Args:
      files: of each class.
      place: of the folder; links are relative to it.
      made: the folder before the move.
      below: the place of the links in it: "train/".
      prefix: of their names.
    """
    rows = []
    for name, inner in zip(files, folder_names(files), strict=True):
        (made / below / inner).mkdir(parents=True, exist_ok=True)
        for path in files[name]:
            file = f"{below}{inner}/{prefix}{path.name}"
            (made / file).symlink_to(os.path.relpath(path, (place / file).parent))
            rows.append({"file": file, "label": name, "split": "train"})
    return rows
