"""--mode=evaluate of a GAN: are its images good, varied and new, and does a classifier agree?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from common.data.prepared.prepared import DataCard, Split, prepare
from common.networks import lpips
from common.networks.vgg16 import weights_are_bundled
from common.program.errors import UserError
from common.program.log import log
from common.program.words import counted
from common.runs.evaluation import (
    EVALUATION,
    evaluation_outputs,
    write_report,
    write_table,
)
from common.runs.judge import Judge, Judged, open_judge
from common.runs.workdir import Run, check_data
from common.scores import ssim
from gan.config import GANModel, GANSettings
from gan.flags import GANOptions
from gan.generate import load_trained
from gan.networks import network_name
from gan.quality.features import default_extractors, make_extractors
from gan.quality.figures import ALL, Figure, quality
from gan.quality.novelty import SUSPICIOUS, Novelty, check_memorization, scores_of
from gan.quality.reference import Images, Reference, reference_of
from gan.quality.sample import Sample, draw_images
from gan.sampling import Sampler
from gan.state import make_gan

_QUALITY, _JUDGED = "quality.csv", "judge.png"
_SPLIT = "train"  # of the real images that generated ones are compared with
_VARIED = 100  # images of a class, for its diversity
_LEAST_SSIM, _LEAST_LPIPS = 11, 16  # pixels

Units = Float[np.ndarray, "images height width channels"]  # in [0, 1]


def evaluate(run: Run, options: GANOptions) -> None:
    """Writes evaluation.json, quality.csv and memorization.png; with --judge, judge.png.

    It compares --images_per_class generated images of each class with the training images by the
    features that --extractors names: gan/quality/figures.py. The images are those that
    --mode=generate writes with the same --seed.

    Raises:
      UserError: an option, the data, a folder or the checkpoint can't be used.
    """
    _check(run, options)
    with evaluation_outputs(run, options) as outputs:
        outputs.claim(dict.fromkeys((SUSPICIOUS, _JUDGED, _QUALITY, EVALUATION), ""))
        found = _evaluated(run, options, outputs.drafts)
    _print_summary(found, outputs.folder)


@dataclass(frozen=True)
class Diversity:
    """How alike (MS-SSIM) or how different (LPIPS) images of one class are, on average of pairs."""

    name: str
    generated: float
    real: float


@dataclass(frozen=True)
class Evaluation:
    """What is known of a generator at a step.

    Attributes:
      step: of its checkpoint.
      card: of the data.
      images_per_class: how many were drawn.
      seed: of the latents.
      k: neighbours, see `manifold_scores`.
      extractors: their names.
      figures: by every extractor, of all images and of each class.
      diversities: of each class, or of all images.
      novelty: whether the images are new.
      judge: what is known of the classifier that judged them; None without one.
      judged: what it found.
    """

    step: int
    card: DataCard
    images_per_class: int
    seed: int
    k: int
    extractors: tuple[str, ...]
    figures: tuple[Figure, ...]
    diversities: Mapping[str, tuple[Diversity, ...]]
    novelty: Novelty
    judge: Judge | None
    judged: Judged | None

    def report(self) -> dict[str, object]:
        """Returns the content of evaluation.json."""
        quality: dict[str, dict[str, dict[str, object]]] = {name: {} for name in self.extractors}
        for figure in self.figures:
            compared = figure.comparison
            of_class = quality[compared.extractor].setdefault(compared.class_name, {})
            of_class |= figure.entries()
        diversity = {
            known: {one.name: {"generated": one.generated, "real": one.real} for one in some}
            for known, some in self.diversities.items()
        }
        report: dict[str, object] = {
            "checkpoint_step": self.step,
            "data": self.card.name,
            "synthetic": self.card.synthetic,
            "reference": _SPLIT,
            "images_per_class": self.images_per_class,
            "seed": self.seed,
            "k": self.k,
            "quality": quality,
            "diversity": diversity,
            "memorization": self.novelty.report(),
        }
        if self.judge:
            report["judge"] = {**self.judge.facts, "generated": self.judged}
        return report

    def rows(self) -> list[dict[str, object]]:
        """Returns the rows of quality.csv."""
        return [
            {"figure": name, "class": figure.comparison.class_name, **entry}
            for figure in self.figures
            for name, entry in figure.entries()
        ]


def _evaluated(run: Run, options: GANOptions, output: Path) -> Evaluation:
    """Measures the images; writes all files into a folder."""
    card, settings = run.card, GANSettings.of(run.config)
    gan = make_gan(settings, card)
    names = options.extractors or default_extractors(card.image_size)
    extractors = make_extractors(names, card.image_size, card.channels)
    judge = _judge(options.judge, run, gan.conditional)
    prepared = prepare(run.config.data)
    check_data(Run(run.workdir, run.config, prepared.card))
    sampler = Sampler(gan)
    trained = load_trained(run, sampler, judging=True)
    reference = reference_of(prepared, _SPLIT, gan.conditional, extractors, settings.data.cache_dir)
    counts = [options.images_per_class] * (len(card.classes) if gan.conditional else 1)
    log.info("drawing %s at step %d", counted(sum(counts), "image"), trained.step)
    images, labels = draw_images(sampler, trained.generator, options.seed, counts)
    features = {extractor.name: extractor.extract(images) for extractor in extractors}
    sample, k = Sample(images, labels, features), settings.quality.k
    figures = [quality(reference, name, made, labels, k) for name, made in features.items()]
    diversities = _diversities(prepared.splits[_SPLIT], reference, sample)
    scores = scores_of(gan, trained.discriminator)
    mirrored = settings.augment.flip_horizontal
    novelty = check_memorization(output, prepared, reference, sample, scores, mirrored)
    judged = None
    if judge:
        caption = f"generated images, read by {options.judge}; trained on {card.caption}"
        judged = judge.report(images, labels, output / _JUDGED, caption)
    found = Evaluation(
        step=trained.step,
        card=card,
        images_per_class=options.images_per_class,
        seed=options.seed,
        k=k,
        extractors=tuple(features),
        figures=tuple(figure for some in figures for figure in some),
        diversities=diversities,
        novelty=novelty,
        judge=judge,
        judged=judged,
    )
    write_report(output, found.report())
    if rows := found.rows():
        write_table(output / _QUALITY, rows)
    return found


def _check(run: Run, options: GANOptions) -> None:
    """Refuses invalid options."""
    if options.input:  # a caller other than launch.py may set it
        raise UserError(
            "--mode=evaluate of a GAN compares with its training images; leave out --input."
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


def _diversities(
    split: Split, reference: Reference, sample: Sample
) -> dict[str, tuple[Diversity, ...]]:
    """Returns the diversity of each class, or of all images if there are none.

    "ms_ssim" is the mean MS-SSIM of 100 random pairs, 1 if all images are equal; "lpips" the mean
    LPIPS distance of all pairs of 100 images, then 0. One is left out if the images are too small
    for it or its weights are missing.
    """
    size = sample.images.shape[1]
    scores: dict[str, Callable[[Units], float]] = {}
    if size >= _LEAST_SSIM:
        scores["ms_ssim"] = ssim.mean_pairwise
    if size >= _LEAST_LPIPS and weights_are_bundled():
        scores["lpips"] = lpips.mean_pairwise
    sets = {ALL: (reference.rows, sample.images)}
    if reference.classes:
        sets = {
            name: (reference.rows[reference.labels == label], sample.images[sample.labels == label])
            for label, name in enumerate(reference.classes)
        }
    found = {}
    for name, (rows, made) in sets.items():
        if len(rows) > 1:
            some = np.random.default_rng(0).permutation(rows)[:_VARIED].tolist()
            real = split.read(some)["image"]
            found[name] = tuple(
                Diversity(score, of(_unit(made[:_VARIED])), of(_unit(real)))
                for score, of in scores.items()
            )
    return found


def _unit(images: Images) -> Units:
    return images.astype(np.float32) / 255


def _print_summary(found: Evaluation, output: Path) -> None:
    print(f"{found.card.name}, step {found.step}, compared with the images of split {_SPLIT!r}")
    if found.card.synthetic:
        print("These are drawings, not patients.")
    print(f"  {'figure':<38} {'class':<12} {'value':>9} {'same n':>9} {'floor':>9}")
    for figure in found.figures:
        compared = figure.comparison
        print(
            f"  {compared.name_of(figure.name):<38} {compared.class_name:<12}"
            f" {figure.value:9.4g} {figure.same_n:9.4g} {figure.floor:9.4g}"
        )
    for known, some in found.diversities.items():
        for pairs in some:
            print(
                f"  {pairs.name + ' of pairs':<38} {known:<12} {pairs.generated:9.4g} (real"
                f" {pairs.real:.4g})"
            )
    if found.judged:
        for name in ("accuracy", "f1_macro", "roc_auc_macro"):
            score = found.judged.scores[name]
            print(
                f"  {'GAN-test ' + name:<38} {ALL:<12} {score.value:9.4g}"
                f" [{score.low:.4g}, {score.high:.4g}]"
            )
    print(f"  {found.novelty.verdict}")
    print(f"  written to {output}")
