"""--mode=evaluate of a GAN: are its images good, varied and new, and does a classifier agree?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from common.data.prepared.prepared import Prepared, prepare
from common.program.errors import UserError
from common.program.log import log
from common.program.words import counted
from common.run_page.write import show_evaluation
from common.runs.evaluation import evaluation_outputs, held_out
from common.runs.judge import Judge, open_judge
from common.runs.workdir import Run, check_data
from gan.config import GANModel, GANSettings
from gan.flags import GANOptions
from gan.networks import network_name
from gan.quality.classification import classification
from gan.quality.evaluation import (
    FILES,
    SPLIT,
    Compared,
    Evaluation,
    Judging,
    measured,
    print_summary,
    write,
)
from gan.quality.features import default_extractors, make_extractors
from gan.quality.figures import quality
from gan.quality.points import CURVE, Measured
from gan.quality.reference import Images, Labels, Reference, reference_of
from gan.quality.sample import draw_images
from gan.selection import Drawing, kept_numbers
from gan.state import make_gan
from gan.trained import Point, Trained, load_trained


def evaluate(run: Run, options: GANOptions) -> None:
    """Writes evaluation.json, quality.csv and memorization.png; with --judge, judge.png.

    It compares --images_per_class generated images of each class with the training images by the
    features that --extractors names: gan/quality/figures.py. The images are those that
    --mode=generate writes with the same --seed, --truncation and --reject. With --curve, those of
    other points are measured, too: points.csv and points.png. A discriminator that classifies is
    scored as a classifier is, on "test" or else "val".

    Raises:
      UserError: an option, the data, a folder or the checkpoint can't be used.
    """
    _check(run, options)
    with evaluation_outputs(run, options) as outputs:
        outputs.claim(dict.fromkeys(FILES, ""))
        found = _evaluated(run, options, outputs.drafts)
    print_summary(found, outputs.folder)
    show_evaluation(run, outputs.folder)


def _evaluated(run: Run, options: GANOptions, output: Path) -> Evaluation:
    """Measures the images; writes all files into a folder."""
    card, settings = run.card, GANSettings.of(run.config)
    gan = make_gan(settings, card)
    names = options.extractors or default_extractors(card.image_size)
    extractors = make_extractors(names, card.image_size, card.channels)
    judge = _judge(options.judge, run, gan.conditional)
    prepared = prepare(run.config.data)
    check_data(Run(run.workdir, run.config, prepared.card))
    trained = load_trained(run, gan, judging=True)
    reference = reference_of(prepared, SPLIT, gan.conditional, extractors, settings.data.cache_dir)
    counts = (options.images_per_class,) * (len(card.classes) if gan.conditional else 1)
    drawing = cache(trained.drawing)  # a program for each truncation
    source, own = _Source(trained, drawing, prepared, options.seed, counts), Point.of(options)
    generated = source.drawn(own)
    judging = None
    if judge:
        judging = Judging(judge, f"read by {options.judge}; trained on {card.caption}")
    mirrored, k = run.config.augment.flip_horizontal, run.config.quality.k
    facts = {
        "checkpoint_step": trained.step,
        "images_per_class": options.images_per_class,
        "seed": options.seed,
        **own._asdict(),
    }
    headline = f"{card.name}, step {trained.step}, compared with the images of split {SPLIT!r}"
    compared = Compared(prepared, reference, k, mirrored, trained.scores)
    found = measured(compared, generated[:2], (headline, facts), judging, output)
    points = [Measured.of(own, generated.kept, found.figures)]
    if options.curve:
        points += _points(source, reference, k, [point for point in CURVE if point != own])
    classes = None
    if gan.networks.discriminator.classifies:
        variables = trained.state.discriminator.variables
        classes = classification(gan, variables, held_out(run, options))
    found = replace(found, points=tuple(points), classes=classes)
    write(found, output)
    return found


def _points(
    source: "_Source", reference: Reference, k: int, points: Sequence[Point]
) -> Iterator[Measured]:
    """Yields what images of other points score; warns of one that can't be drawn."""
    for point in points:
        try:
            images, labels, kept = source.drawn(point)
        except UserError as error:
            log.warning("nothing is known of%s: %s", point.flags, error)
            continue
        figures = [
            figure
            for name, extractor in reference.extractors.items()
            for figure in quality(reference, name, extractor.extract(images), labels, k)
        ]
        yield Measured.of(point, kept, figures)


class _Drawn(NamedTuple):
    """Images, their classes, and the share of all candidates that they are."""

    images: Images
    labels: Labels
    kept: float


@dataclass(frozen=True)
class _Source:
    """Generated images of a seed, so many of each class, from any point."""

    trained: Trained
    drawing: Callable[[float], Drawing]
    prepared: Prepared
    seed: int
    counts: Sequence[int]

    def drawn(self, point: Point) -> _Drawn:
        """Returns the images of a point.

        Raises:
          UserError: the discriminator can't choose, or almost no image is kept.
        """
        log.info("drawing %s%s", counted(sum(self.counts), "image"), point.flags)
        drawing = self.drawing(point.truncation)
        tests = self.trained.rejection(drawing, point.reject, self.seed, self.prepared)
        numbers = [
            kept_numbers(drawing, self.seed, label, count, tests)
            for label, count in enumerate(self.counts)
        ]
        images, labels = draw_images(
            drawing.sampler,
            drawing.variables,
            self.seed,
            self.counts,
            lambda label, _: numbers[label],
        )
        candidates = sum(int(of_class[-1]) + 1 for of_class in numbers)
        return _Drawn(images, labels, sum(self.counts) / candidates)


def _check(run: Run, options: GANOptions) -> None:
    """Refuses invalid options."""
    if options.input or options.real:
        raise UserError(
            f"--mode=evaluate of the run {run.workdir} scores the images that it generates; to"
            " score those of a folder, give --input and --real and leave out --workdir."
        )


def _judge(workdir: str, run: Run, conditional: bool) -> Judge | None:
    if not workdir:
        return None
    if not conditional:
        network = network_name(GANModel.of(run.config.model), run.card)
        raise UserError(
            f"--judge={workdir}, but the network {network} is unconditional, so there is nothing"
            " to judge; leave out --judge, or train a conditional network such as acgan."
        )
    judge = open_judge(Path(workdir), run.card.image_size, run.card.channels)
    if judge.classes != run.card.classes:
        raise UserError(
            f"The classes of {workdir} are {', '.join(judge.classes)}, the run's are"
            f" {', '.join(run.card.classes)}; they must be the same."
        )
    return judge
