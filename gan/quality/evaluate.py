"""--mode=evaluate of a GAN: are its images good, varied and new, and does a classifier agree?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from common.data.prepared.prepared import Split, prepare
from common.networks import lpips
from common.networks.vgg16 import weights_are_bundled
from common.program.errors import UserError
from common.program.log import log
from common.program.options import Options
from common.program.words import counted
from common.runs.evaluation import (
    EVALUATION,
    evaluation_outputs,
    write_report,
    write_table,
)
from common.runs.judge import Judge, open_judge
from common.runs.workdir import Run, check_data
from common.scores import ssim
from gan.generate import load_trained
from gan.networks import network_name
from gan.quality.features import default_extractors, make_extractors
from gan.quality.figures import Reference, draw_images, quality, reference_of
from gan.quality.novelty import SUSPICIOUS, Generated, check_memorization, scores_of
from gan.sampling import Sampler
from gan.state import make_gan

_QUALITY, _JUDGED = "quality.csv", "judge.png"
_SPLIT = "train"  # of the real images that generated ones are compared with
_VARIED = 100  # images of a class, for its diversity
_LEAST_SSIM, _LEAST_LPIPS = 11, 16  # pixels
_TOLD = ("frechet", "kernel", "precision", "recall", "density", "coverage")

Images = UInt8[np.ndarray, "images height width channels"]
Labels = Int[np.ndarray, " images"]


def evaluate(run: Run, options: Options) -> None:
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
        report = _report(run, options, outputs.drafts)
    _print_summary(report, outputs.folder)


def _report(run: Run, options: Options, output: Path) -> dict[str, Any]:
    """Returns the report of evaluation.json; writes all files into a folder."""
    card, gan = run.card, make_gan(run.config, run.card)
    names = options.extractors or default_extractors(card.image_size)
    extractors = make_extractors(names, card.image_size, card.channels)
    judge = _judge(options.judge, run, gan.conditional)
    prepared = prepare(run.config.data)
    check_data(Run(run.workdir, run.config, prepared.card))
    sampler = Sampler(gan)
    trained = load_trained(run, sampler, judging=True)
    reference = reference_of(
        prepared, _SPLIT, gan.conditional, extractors, run.config.data.cache_dir
    )
    counts = [options.images_per_class] * (len(card.classes) if gan.conditional else 1)
    log.info("drawing %s at step %d", counted(sum(counts), "image"), trained.step)
    images, labels = draw_images(sampler, trained.generator, options.seed, counts)
    features = {extractor.name: extractor.extract(images) for extractor in extractors}
    k = run.config.quality.k
    found = {name: quality(reference, name, made, labels, k) for name, made in features.items()}
    report: dict[str, Any] = {
        "checkpoint_step": trained.step,
        "data": card.name,
        "synthetic": card.synthetic,
        "reference": _SPLIT,
        "images_per_class": options.images_per_class,
        "seed": options.seed,
        "k": k,
        "quality": found,
        "diversity": _diversity(prepared.splits[_SPLIT], reference, images, labels),
    }
    scores = scores_of(gan, trained.discriminator)
    mirrored = run.config.augment.flip_horizontal
    generated = Generated(images, labels, features)
    report["memorization"] = check_memorization(
        output, prepared, reference, generated, scores, mirrored
    )
    if judge:
        caption = f"generated images, read by {options.judge}; trained on {card.caption}"
        read = judge.report(images, labels, output / _JUDGED, caption)
        report["judge"] = {**judge.facts, "generated": read}
    write_report(output, report)
    if rows := _rows(found):
        write_table(output / _QUALITY, rows)
    return report


def _check(run: Run, options: Options) -> None:
    """Refuses invalid options."""
    if options.input:  # a caller other than launch.py may set it
        raise UserError(
            "--mode=evaluate of a GAN compares with its training images; leave out --input."
        )


def _judge(workdir: str, run: Run, conditional: bool) -> Judge | None:
    if not workdir:
        return None
    if not conditional:
        raise UserError(
            f"--judge={workdir}, but the network {network_name(run.config.model, run.card)} is"
            " unconditional, so there is nothing to judge; leave out --judge, or train a"
            " conditional network such as acgan."
        )
    judge = open_judge(Path(workdir), run.card.image_size, run.card.channels)
    if judge.classes != run.card.classes:
        raise UserError(
            f"The classes of {workdir} are {', '.join(judge.classes)}, the run's are"
            f" {', '.join(run.card.classes)}; they must be the same."
        )
    return judge


def _diversity(
    split: Split, reference: Reference, images: Images, labels: Labels
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns `{class or "all": {"ms_ssim" or "lpips": {"generated", "real"}}}`.

    The mean MS-SSIM of 100 random pairs, 1 if all images are equal, and the mean LPIPS distance of
    all pairs of 100 images, then 0. A score is left out if the images are too small for it or its
    weights are missing.
    """
    size = images.shape[1]
    scores: dict[str, Any] = {"ms_ssim": ssim.mean_pairwise} if size >= _LEAST_SSIM else {}
    if size >= _LEAST_LPIPS and weights_are_bundled():
        scores["lpips"] = lpips.mean_pairwise
    sets = {"all": (reference.rows, images)}
    if reference.classes:
        sets = {
            name: (reference.rows[reference.labels == label], images[labels == label])
            for label, name in enumerate(reference.classes)
        }
    found = {}
    for name, (rows, made) in sets.items():
        if len(rows) > 1:
            some = np.random.default_rng(0).permutation(rows)[:_VARIED].tolist()
            real = split.read(some)["image"]
            found[name] = {
                score: {"generated": of(_unit(made[:_VARIED])), "real": of(_unit(real))}
                for score, of in scores.items()
            }
    return found


def _unit(images: Images) -> Float[np.ndarray, "images height width channels"]:
    return images.astype(np.float32) / 255


def _rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"figure": figure, "class": known, **entry}
        for by_class in found.values()
        for known, named in by_class.items()
        for figure, entry in named.items()
    ]


def _print_summary(report: Mapping[str, Any], output: Path) -> None:
    print(
        f"{report['data']}, step {report['checkpoint_step']}, compared with the images of split"
        f" {report['reference']!r}"
    )
    if report["synthetic"]:
        print("These are drawings, not patients.")
    print(f"  {'figure':<38} {'class':<12} {'value':>9} {'same n':>9} {'floor':>9}")
    for row in _rows(report["quality"]):
        if row["figure"].split("_")[0] in _TOLD and "standard_error" not in row["figure"]:
            numbers = " ".join(f"{row[name]:9.4g}" for name in ("value", "same_n", "floor"))
            print(f"  {row['figure']:<38} {row['class']:<12} {numbers}")
    for known, measures in report["diversity"].items():
        for name, entry in measures.items():
            print(
                f"  {name + ' of pairs':<38} {known:<12} {entry['generated']:9.4g} (real"
                f" {entry['real']:.4g})"
            )
    if "judge" in report:
        scores = report["judge"]["generated"]["scores"]
        for name in ("accuracy", "f1_macro", "roc_auc_macro"):
            entry = scores[name]
            print(
                f"  {'GAN-test ' + name:<38} {'all':<12} {entry['value']:9.4g}"
                f" [{entry['low']:.4g}, {entry['high']:.4g}]"
            )
    print(f"  {report['memorization']['verdict']}")
    print(f"  written to {output}")
