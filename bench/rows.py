"""The rows to time: each is one experiment of this project and one kind of work in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ml_collections import ConfigDict

Work = Literal["train", "forward", "generate", "predict"]

NUM_FILES = 1000  # to generate or to segment
SEED = 0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
      name: on the command line.
      title: in the table.
      config: a file in `configs`.
      work: "train", a training step; "forward", classifying a batch; "generate" and "predict",
        files written by that mode of `launch.py`.
      changes: settings that differ from the file's.
      must: the required speed as a multiple of PyTorch's.
      steps: per round; 0: as many as fill one.
      most_rounds: the most rounds; PyTorch needs minutes for a step of some.
      rivals: those of `RIVALS` that take part; all if empty.
    """

    name: str
    title: str
    config: str
    work: Work = "train"
    changes: Mapping[str, Any] = field(default_factory=dict)
    must: float = 0.0
    steps: int = 0
    most_rounds: int = 100
    rivals: tuple[str, ...] = ()


# Every variant of PyTorch, and Keras as its users run it; the fastest of each framework counts.
RIVALS = ("NCHW", "channels_last", "compile", "compile+channels_last", "keras")
_EAGER = RIVALS[:2]

_POOLED = {
    "data.image_size": 224,
    "data.batch_size": 16,
    "optimizer.accumulate": 1,
    "optimizer.learning_rate": 1e-5,
    "model.network.hidden": (),
    "model.network.pooled": True,
}

ROWS = (
    Row("dense_mnist", "dense GAN 28x28, batch 32", "dense_gan_mnist", must=1.5),
    Row("dense_200", "dense GAN 200x200x3, batch 32", "dense_gan_chest_xray"),
    Row(
        "dcgan_64",
        "DCGAN 64x64x3, batch 64",
        "dcgan_chest_xray",
        changes={"data.batch_size": 64},
        must=0.8,
    ),
    Row("dcgan_128", "DCGAN 64x64x3, batch 128", "dcgan_chest_xray"),
    Row("acgan_64", "AC-GAN 64x64, batch 32", "acgan_covid", must=1.5),
    Row(
        "acgan_256",
        "AC-GAN 256x256, batch 32",
        "acgan_covid",
        changes={"data.image_size": 256},
        rivals=(*_EAGER, "keras"),
    ),
    Row("acgan_best_64", "best AC-GAN 64x64, batch 16", "acgan_covid_best", must=1.0),
    Row(
        "cnn_gan",
        "CNN GAN 200x200x3, batch 8",
        "cnn_gan_chest_xray",
        changes={"data.batch_size": 8},
        must=2.0,
        steps=1,
        most_rounds=2,
        rivals=("NCHW",),
    ),
    Row("unet_2", "U-Net 128x128x3, batch 2", "unet_brain_mri", must=0.8),
    Row(
        "unet_16",
        "U-Net 128x128x3, batch 16",
        "unet_brain_mri",
        changes={"data.batch_size": 16},
        must=0.8,
    ),
    Row("vgg16_forward", "VGG16 224x224, batch 16, forward", "vgg16_covid", "forward", _POOLED),
    Row("vgg16", "VGG16 224x224, batch 16, fine-tuning", "vgg16_covid", changes=_POOLED, must=0.9),
    Row(
        "generate",
        f"AC-GAN 64x64, {NUM_FILES:,} images to files",
        "acgan_covid",
        "generate",
        must=1.0,
        steps=1,
        rivals=_EAGER,
    ),
    Row(
        "predict",
        f"U-Net 128x128x3, {NUM_FILES:,} slices to masks",
        "unet_brain_mri",
        "predict",
        must=1.0,
        steps=1,
        rivals=_EAGER,
    ),
)


def row_named(name: str) -> Row:
    """Returns the row of that name; "NAME:bfloat16" trains in mixed precision.

    Raises:
      KeyError: there is no such row.
    """
    name, _, dtype = name.partition(":")
    row = {row.name: row for row in ROWS}[name]
    if not dtype:
        return row
    changes = {**row.changes, "train.dtype": dtype}
    return replace(row, name=f"{name}:{dtype}", title=f"{row.title}, {dtype}", changes=changes)


def settings(row: Row, cache: Path) -> ConfigDict:
    """Returns the experiment of a row, without augmentation and with few phantoms."""
    config = import_module(f"configs.{row.config}").get_config()
    with config.unlocked():
        config.augment.update(flip_horizontal=False, rotation=0.0)
        for name, value in row.changes.items():
            *path, last = name.split(".")
            section = config
            for key in path:
                section = section[key]
            section[last] = value
        config.data.update(num_phantoms=max(64, 2 * config.data.batch_size), only="")
        config.data.cache_dir = str(cache)
        config.seed = SEED
        config.train.update(eval_every="0", best_metric="", picture_every="0")
    return config


def images_per_step(row: Row, config: ConfigDict) -> int:
    """Returns the number of images that one step makes or sees."""
    return NUM_FILES if row.work in ("generate", "predict") else config.data.batch_size
