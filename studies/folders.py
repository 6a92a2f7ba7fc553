"""The folders that the study's runs read: images written once, and links to them in every cell.

WORKDIR/images/{train,val,test}/CLASS/patient0003_image000012.png
WORKDIR/images/images.csv                                            which image that is
WORKDIR/cells/50_0/real/CLASS/*.png                                  50 of each class, seed 0
WORKDIR/cells/50_0/synthetic/CLASS/000000.png                        drawn by its GAN
WORKDIR/cells/50_0/arms/real+1/data/{train,val,test}/CLASS/*.png     what this arm reads
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common.data.prepared import Prepared
from common.data.scratch import move_into_place, scratch_folder
from common.errors import UserError
from common.report.images import write_picture
from common.training.evaluation import write_table
from studies.config import ALL

# Whose an image is, by its name; a synthetic one is of nobody.
GROUP = r"^(patient\d+)_|^synthetic"
IMAGES = "images"

ClassFiles = Mapping[str, Sequence[Path]]


def write_images(prepared: Prepared, workdir: Path) -> Path:
    """Writes all images in the study's size, where that is not done yet; returns their folder.

    Patients and images are numbered; images.csv says which is which.
    """
    folder = workdir / IMAGES
    if folder.exists():
        return folder
    names = {split: part.owners for split, part in prepared.splits.items()}
    everybody = {name for some in names.values() for name in some}
    patient = {name: number for number, name in enumerate(sorted(everybody))}
    classes, rows = prepared.card.classes, []
    with scratch_folder(workdir) as scratch, ThreadPoolExecutor() as pool:
        written = scratch / IMAGES
        for split, part in prepared.splits.items():
            for name in classes:
                (written / split / name).mkdir(parents=True)
            examples = part.read(range(len(part)))
            files = []
            for row, label in enumerate(examples["label"]):
                number = patient[names[split][row]]
                file = f"{split}/{classes[label]}/patient{number:04d}_image{row:06d}.png"
                files.append(written / file)
                rows.append({"file": file, "image": part.ids[row], "patient": names[split][row]})
            list(pool.map(write_picture, files, examples["image"]))
        write_table(written / "images.csv", rows)
        move_into_place(written, folder)
    return folder


def choose(images: Path, classes: Sequence[str], size: str, seed: int) -> ClassFiles:
    """Returns the training images of a size and a seed; of one seed, more hold fewer."""
    chosen = {}
    for label, name in enumerate(classes):
        files = sorted((images / "train" / name).glob("*.png"))
        order = np.random.default_rng([seed, label]).permutation(len(files))
        chosen[name] = [files[place] for place in order[: wanted(size, name, len(files))]]
    return chosen


def wanted(size: str, name: str, there: int) -> int:
    """Returns how many images of a class a size means.

    Args:
      size: a number, or "all".
      name: of the class.
      there: training images of it.

    Raises:
      UserError: there are fewer.
    """
    number = there if size == ALL else int(size)
    if number > there:
        raise UserError(
            f"config.study.sizes has {size}, but class {name} has {there} training images; write"
            f" {there} at most, or '{ALL}'."
        )
    return number


def link_real(chosen: ClassFiles, folder: Path) -> None:
    """Makes CLASS/*.png of the chosen images, where that is not done yet."""
    if not folder.exists():
        with scratch_folder(folder.parent) as scratch:
            _link(chosen, folder, scratch / folder.name)
            move_into_place(scratch / folder.name, folder)


def link_arm(train: Sequence[ClassFiles], images: Path, folder: Path) -> None:
    """Makes {train,val,test}/CLASS/*.png, where that is not done yet."""
    if folder.exists():
        return
    with scratch_folder(folder.parent) as scratch:
        made = scratch / folder.name
        for files in train:
            _link(files, folder / "train", made / "train")
        for split in ("val", "test"):
            (made / split).symlink_to(os.path.relpath(images / split, folder))
        move_into_place(made, folder)


def first_synthetic(folder: Path, chosen: ClassFiles, ratio: float) -> ClassFiles:
    """Returns `ratio` times as many synthetic images of each class as are chosen of the real."""
    return {
        name: [folder / name / f"{number:06d}.png" for number in range(count)]
        for name, count in num_synthetic(chosen, ratio).items()
    }


def num_synthetic(chosen: ClassFiles, ratio: float) -> dict[str, int]:
    """Returns how many synthetic images of each class are wanted, at least one."""
    return {name: max(1, round(ratio * len(files))) for name, files in chosen.items()}


def _link(files: ClassFiles, place: Path, made: Path) -> None:
    """Makes links in a folder that will be moved to its place, relative to there."""
    for name, paths in files.items():
        (made / name).mkdir(parents=True, exist_ok=True)
        for path in paths:
            link = path.name if path.name.startswith("patient") else f"synthetic{path.name}"
            (made / name / link).symlink_to(os.path.relpath(path, place / name))
