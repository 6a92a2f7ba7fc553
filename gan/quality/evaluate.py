"""--mode=evaluate of a GAN: are its images good, varied and new, and does a classifier agree?"""

from functools import partial
from pathlib import Path

from common.data.prepared.prepared import prepare
from common.program.errors import UserError
from common.program.log import log
from common.program.words import counted
from common.run_page.write import show_evaluation
from common.runs.evaluation import evaluation_outputs
from common.runs.judge import Judge, open_judge
from common.runs.workdir import Run, check_data
from gan.config import GANModel, GANSettings
from gan.flags import GANOptions
from gan.generate import load_trained
from gan.networks import network_name
from gan.quality.evaluation import (
    FILES,
    SPLIT,
    Compared,
    Evaluation,
    Judging,
    measured,
    print_summary,
)
from gan.quality.features import default_extractors, make_extractors
from gan.quality.novelty import scores_of
from gan.quality.reference import reference_of
from gan.quality.sample import draw_images
from gan.sampling import Sampler
from gan.selection import Drawing, check_rejection, kept_numbers, rejection
from gan.state import make_gan


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
    if options.reject:
        check_rejection(gan)
    judge = _judge(options.judge, run, gan.conditional)
    prepared = prepare(run.config.data)
    check_data(Run(run.workdir, run.config, prepared.card))
    sampler = Sampler(gan)
    trained = load_trained(run, sampler, judging=True)
    reference = reference_of(prepared, SPLIT, gan.conditional, extractors, settings.data.cache_dir)
    counts = [options.images_per_class] * (len(card.classes) if gan.conditional else 1)
    log.info("drawing %s at step %d", counted(sum(counts), "image"), trained.step)
    scores = scores_of(gan, trained.discriminator)
    drawing = Drawing(sampler, trained.generator)
    tests = [rejection(drawing, options.seed, scores)] if options.reject else []
    chosen = partial(kept_numbers, drawing, options.seed, tests=tests)
    images, labels = draw_images(sampler, trained.generator, options.seed, counts, chosen)
    judging = None
    if judge:
        judging = Judging(judge, f"read by {options.judge}; trained on {card.caption}")
    mirrored = run.config.augment.flip_horizontal
    facts = {
        "checkpoint_step": trained.step,
        "images_per_class": options.images_per_class,
        "seed": options.seed,
        **({"reject": True} if options.reject else {}),
    }
    headline = f"{card.name}, step {trained.step}, compared with the images of split {SPLIT!r}"
    compared = Compared(prepared, reference, run.config.quality.k, mirrored, scores)
    return measured(compared, (images, labels), (headline, facts), judging, output)


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
