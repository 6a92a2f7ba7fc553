"""The images of folders that arms name: `folder:DIR`, `real+1:DIR`. Anybody may have made them.

They are read as the study's own images are, and written as its runs read them. The folder that they
are written to is named after what they are: an arm whose images changed is another one.

WORKDIR/given/DIR-3fa9c2d1/images/train/CLASS/image000012.png
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ml_collections import ConfigDict

from common.data.prepared.prepared import DataCard, Prepared, prepare
from common.data.settings import DataSettings
from common.program.errors import UserError
from common.program.files import user_path
from studies.config import Arm, Study
from studies.folders import write_images

_GIVEN = "given"


def open_given(study: Study, data: ConfigDict, card: DataCard) -> Mapping[str, Prepared]:
    """Returns the images of each folder that an arm names, by the folder.

    Args:
      study: its arms.
      data: the settings of the study's own images.
      card: of these.

    Raises:
      UserError: a folder is missing, can't be read, or has other classes.
    """
    # All images of a folder train, unless it has the folders train, val and test itself.
    undivided = replace(
        DataSettings.of(data), group="", splits="", held_out="", folds=0, copies="keep"
    )
    settings = replace(
        undivided, name="", url="", sha256="", only="", pairs="stems", channels=card.channels
    )
    named = {arm.given: arm for arm in study.arms if arm.given}
    return {folder: _open(arm, settings, card) for folder, arm in named.items()}


def _open(arm: Arm, settings: DataSettings, card: DataCard) -> Prepared:
    if not user_path(arm.given).exists():
        raise UserError(
            f"config.study.arms has '{arm.name}', but there is no {arm.given}; name a folder with a"
            f" folder of images for each class: {', '.join(card.classes)}."
        )
    try:
        given = prepare(replace(settings, dir=arm.given).section)
    except UserError as error:
        raise UserError(f"The images of config.study.arms '{arm.name}': {error}") from error
    if set(given.card.classes) != set(card.classes):
        raise UserError(
            f"config.study.arms has '{arm.name}', but the classes of {arm.given} are"
            f" {', '.join(given.card.classes)}, those of {card.name} are"
            f" {', '.join(card.classes)}; name the folders alike."
        )
    return given


def place_of(arm: Arm, given: Mapping[str, Prepared]) -> str:
    """Returns the name of an arm's folder: it says how it trains, and on which images."""
    if not arm.given:
        return arm.name
    return f"{arm.name.partition(':')[0]}-{_name(arm.given, given[arm.given])}"


def write_given(folder: str, images: Prepared, workdir: Path) -> Path:
    """Returns the folder of all images that an arm may take; writes them unless it exists."""
    return write_images(images, workdir / _GIVEN / _name(folder, images))


def _name(folder: str, images: Prepared) -> str:
    base = re.sub(r"[^\w.-]+", "-", user_path(folder).resolve().name)
    return f"{base}-{images.card.fingerprint[:8]}"
