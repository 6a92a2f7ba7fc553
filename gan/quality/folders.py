"""--mode=evaluate --real=DIR --input=DIR: are the images of any folder good, varied and new?

They may be of any generator: another program's, a diffusion model's, a published synthetic set.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.data.prepared.prepared import Prepared, prepare
from common.data.settings import DataSettings
from common.program.errors import UserError
from common.program.files import user_path
from common.program.log import talk
from common.program.outputs import Outputs
from common.runs.judge import open_judge
from gan.config import QualitySettings
from gan.flags import GANOptions
from gan.quality.evaluation import (
    FILES,
    SPLIT,
    Compared,
    Judging,
    measured,
    print_summary,
    write,
)
from gan.quality.features import default_extractors, make_extractors
from gan.quality.reference import MOST, Images, Labels, reference_of
from gan.trained import Point


def evaluate_without_run(options: GANOptions) -> None:
    """Scores the images of --input beside those of --real; writes what `evaluate` does.

    Both are read at --image_size. If --real has the folders train, val and test, its training
    images are the reference, and the others tell whether images are repeated. Classes are
    compared one by one where both have the same.

    Raises:
      UserError: an option or a folder can't be used, or the classes differ.
    """
    if not options.input:
        raise UserError("--real=DIR needs --input=DIR, the images to compare with it.")
    if Point.of(options) != Point() or options.curve:
        raise UserError(
            "--truncation, --reject and --curve need --workdir, a run whose generator draws; leave"
            " them out."
        )
    real_folder, folder = user_path(options.real), user_path(options.input)
    name = re.sub(r"[^\w.-]+", "-", folder.resolve().name) or "images"
    talk(this_process=True)
    with Outputs(
        Path(options.output) if options.output else Path("runs") / f"evaluate-{name}",
        "evaluate",
        of=f"{folder.resolve()} beside {real_folder.resolve()}",
        overwrite=options.overwrite,
        again=not options.output,
        inputs=[real_folder, folder],
    ) as outputs:
        outputs.claim(dict.fromkeys(FILES, ""))
        settings = DataSettings(
            dir=options.real, image_size=options.image_size, channels=0, copies="keep"
        )
        real = prepare(settings.section)
        channels = real.card.channels
        made = prepare(replace(settings, dir=options.input, channels=channels).section)
        images, labels = _images_of(made, real)
        size, classes = options.image_size, real.card.classes
        extractors = make_extractors(options.extractors or default_extractors(size), size, channels)
        judging = None
        if options.judge:
            judge = open_judge(Path(options.judge), size, channels)
            if judge.classes != classes:
                raise UserError(
                    f"The classes of {options.judge} are {', '.join(judge.classes)}, those of"
                    f" {options.real} are {', '.join(classes)}; they must be the same."
                )
            judging = Judging(judge, f"read by {options.judge}; beside {real.card.caption}")
        reference = reference_of(real, SPLIT, len(classes) > 1, extractors, "")
        headline = (
            f"{len(images):,} images of {options.input}, compared with the images of split"
            f" {SPLIT!r} of {real.card.name}"
        )
        facts = {"input": options.input, "images": len(images), "image_size": size}
        compared = Compared(real, reference, QualitySettings().k, mirrored=False, scores=None)
        found = measured(compared, (images, labels), (headline, facts), judging, outputs.drafts)
        write(found, outputs.drafts)
    print_summary(found, outputs.folder)


def _images_of(made: Prepared, real: Prepared) -> tuple[Images, Labels]:
    """Returns the images to score and their classes, evenly spaced if there are very many."""
    if made.card.classes != real.card.classes:
        raise UserError(
            f"The classes of {made.card.name} are {', '.join(made.card.classes)}, those of"
            f" {real.card.name} are {', '.join(real.card.classes)}; name the folders alike, or"
            " compare one class at a time."
        )
    images, labels = [], []
    everything = sum(len(split) for split in made.splits.values())
    for split in made.splits.values():
        few = round(min(1.0, MOST / everything) * len(split))
        examples = split.read(np.linspace(0, len(split) - 1, few, dtype=int).tolist())
        images.append(examples["image"])
        labels.append(examples["label"])
    return np.concatenate(images), np.concatenate(labels)
