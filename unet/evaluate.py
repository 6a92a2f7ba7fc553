"""--mode=evaluate: how good a trained segmentation network is on images that it has not seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from common.data.prepared.prepared import DataCard, Split
from common.program.errors import UserError
from common.program.log import log
from common.report.images import write_picture
from common.run_page.write import show_evaluation
from common.runs.evaluation import (
    EVALUATION,
    HeldOut,
    average_of,
    evaluation_outputs,
    held_out,
    once_each,
    write_report,
    write_table,
)
from common.runs.workdir import Run
from common.scores.metrics import confusion_of
from common.unlike.run import Unlike, distances_to_training, unlike_sentence, with_distances
from unet.config import UNetSettings
from unet.decision import Decision, known_decision
from unet.flags import CHOOSE, UNetOptions
from unet.native import segmented_natively
from unet.panels import Case, panels
from unet.regions import best_smallest
from unet.scores import (
    Scored,
    View,
    image_rows,
    patient_rows,
    readings,
    summary,
    surface_distances,
)
from unet.segment import load_windows
from unet.segmented import Load, Segmented, segmented
from unet.state import make_segmenter
from unet.threshold import best_threshold, check_threshold
from unet.verdict import verdict

_KINDS = ("worst", "median", "best", "random")  # of cases that are shown
_SHOWN = 4  # of each
_IMAGES, _PATIENTS = "images.csv", "patients.csv"
_TOLD = ("dice", "iou", "hd95")


def evaluate(run: Run, options: UNetOptions) -> None:
    """Writes evaluation.json, images.csv, patients.csv if they are known, and panels of cases.

    It scores the run's split "test", or "val" if there is none; then it says so, because these
    images chose the checkpoint. With --split=val it scores "val", of an ensemble of folds that of
    all, each by its own members. With two classes the threshold is the one with the best mean Dice
    over the patients of "val"; with more there is none, and the likeliest class wins. With --input
    it scores the images of another folder (its "test", if it has one) at the threshold that the
    run's own evaluation chose. Scores are of the prepared images, in `data.image_size`; with
    --native also of the files' own size.

    Raises:
      UserError: nothing is held out, or the data, a folder or the checkpoint can't be used.
    """
    check_threshold(run, options)
    with evaluation_outputs(run, options) as outputs:
        pictures = [f"{kind}.png" for kind in _KINDS]
        outputs.claim(dict.fromkeys((*pictures, _IMAGES, _PATIENTS, EVALUATION), ""))
        found = _evaluated(run, options, outputs.drafts)
    _print_summary(found, outputs.folder)
    show_evaluation(run, outputs.folder)


@dataclass(frozen=True)
class Evaluation:
    """What is known of a segmentation network at a step.

    Attributes:
      step: of its checkpoint.
      held: the images that were scored.
      classes: their names, the background first.
      average: the views of each image that were averaged over.
      decision: how probabilities became masks.
      chosen_on: what the threshold was chosen on.
      scored: the images' confusion matrices and distances.
      views: every score.
      native_views: every score in the images' own size; () if they were not asked for.
      unlike: how far the images are outside those of the training; None if that is unknown.
    """

    step: int
    held: HeldOut
    classes: tuple[str, ...]
    average: str
    decision: Decision
    chosen_on: str
    scored: Scored
    views: tuple[View, ...]
    native_views: tuple[View, ...]
    unlike: Unlike | None

    @property
    def verdict(self) -> str:
        """Returns it in words."""
        empty = _empty(self.scored, self.classes)
        return verdict(self.views, self.scored, self.classes, empty, self.held)

    def report(self) -> dict[str, object]:
        """Returns the content of evaluation.json."""
        return {
            "verdict": self.verdict,
            "checkpoint_step": self.step,
            **self.held.facts,
            "classes": self.classes,
            "average": self.average,
            "threshold": self.decision.threshold,
            "smallest": self.decision.smallest,
            "threshold_chosen_on": self.chosen_on,
            "empty": _empty(self.scored, self.classes),
            "readings": readings(self.scored.confusion),
            "scores": _by_class(self.views),
            "native_scores": _by_class(self.native_views),
            "unlike": self.unlike,
        }


def _by_class(views: Sequence[View]) -> dict[str, dict[str, object]]:
    """Returns {class: {view: scores}}."""
    scores: dict[str, dict[str, object]] = {}
    for view in views:
        scores.setdefault(view.class_name, {})[view.name] = view.scores
    return scores


def _evaluated(run: Run, options: UNetOptions, output: Path) -> Evaluation:
    """Scores the images; writes all files into a folder."""
    segmenter = make_segmenter(UNetSettings.of(run.config), run.card)
    average = average_of(run, options.average) if options.input else options.average
    loaded = once_each(partial(load_windows, average=average))
    _, step = loaded(run)
    held = held_out(run, options)
    _check_masks(run, held.card)
    decision, chosen_on = _decision(run, options, held, loaded, step)
    split = held.split
    log.info("scoring %d images of %s, %s, at step %d", len(split), held.card.name, held.name, step)
    scored = score(split, segmented(held.parts, loaded), decision)
    native = None
    if options.native:
        own_size = segmented_natively(held, loaded, decision)
        native = score(split, own_size, Decision(decision.threshold))
    distances = distances_to_training(held.parts)
    views, unlike = summary(scored, segmenter.classes), Unlike.of(distances)
    found = Evaluation(
        *(step, held, segmenter.classes, average, decision, chosen_on, scored, views),
        native_views=summary(native, segmenter.classes) if native else (),
        unlike=unlike,
    )
    write_report(output, found.report())
    rows = with_distances(image_rows(scored, segmenter.classes), split.ids, distances)
    write_table(output / _IMAGES, rows)
    if scored.knows_patients:
        write_table(output / _PATIENTS, patient_rows(scored, segmenter.classes))
    for kind, cases in _cases(scored, held, loaded, decision).items():
        write_picture(output / f"{kind}.png", panels(cases, held.card))
    return found


def score(split: Split, found: Iterable[Segmented], decision: Decision) -> Scored:
    """Scores what is found in the images of a split, in their order."""
    confusion, hd95, assd = [], [], []
    for _, truth, probabilities in found:
        classes = probabilities.shape[-1]
        predicted = decision.mask(probabilities)
        confusion.append(confusion_of(truth, predicted, classes))
        pairs = [surface_distances(truth == c, predicted == c) for c in range(1, classes)]
        hd95.append([farthest for farthest, _ in pairs])
        assd.append([mean for _, mean in pairs])
    return Scored(split.ids, split.groups, np.stack(confusion), np.array(hd95), np.array(assd))


def _check_masks(run: Run, card: DataCard) -> None:
    """Refuses data whose masks do not have the run's classes."""
    if not card.mask_classes:
        raise UserError(f"{card.name} has no masks to compare with; see docs/own_data.md.")
    # Values are read as in the run's masks; only phantoms and a few sources name their classes.
    if len(card.mask_classes) != len(run.card.mask_classes):
        raise UserError(
            f"The masks of {card.name} have the classes {', '.join(card.mask_classes)}, the run's"
            f" are {', '.join(run.card.mask_classes)}; their numbers must be equal."
        )


def _decision(
    run: Run, options: UNetOptions, held: HeldOut, loaded: Load, step: int
) -> tuple[Decision, str]:
    """Returns how probabilities become masks, and what the threshold was chosen on.

    Raises:
      UserError: a flag is invalid, or needs validation images beside those that are scored.
    """
    if len(run.card.mask_classes) > 2:
        return known_decision(run, options, step), "nothing: the likeliest class wins"
    if options.input:
        chosen_on = "nothing: --threshold" if options.threshold else "the run's own evaluation"
        return known_decision(run, options, step), chosen_on
    threshold, chosen_on = _threshold(options, held, loaded)
    if options.smallest != CHOOSE:
        return Decision(threshold, int(options.smallest or 0)), chosen_on
    if not held.validation:
        raise UserError(
            f"--smallest={CHOOSE} needs validation images beside those that are scored; name a"
            " number of pixels."
        )
    found = segmented(held.validation, loaded)
    return Decision(threshold, best_smallest(found, _owners(held), threshold)), chosen_on


def _owners(held: HeldOut) -> list[str]:
    """Returns the patient of each validation image."""
    return [owner for part in held.validation for owner in part.split.owners]


def _threshold(options: UNetOptions, held: HeldOut, loaded: Load) -> tuple[float, str]:
    """Returns the threshold and what it was chosen on."""
    if options.threshold:
        return options.threshold, "nothing: --threshold"
    if not held.validation:
        return 0.5, "nothing: no validation images beside those that are scored"
    return best_threshold(segmented(held.validation, loaded), _owners(held)), "val"


def _empty(scored: Scored, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Returns how many images have nothing to find or nothing found: conventions score them."""
    found = {}
    for index, name in enumerate(classes[1:], 1):
        true = scored.confusion[:, index].sum(-1) > 0
        predicted = scored.confusion[:, :, index].sum(-1) > 0
        found[name] = {
            "both": int((~true & ~predicted).sum()),
            "truth_only": int((~true & predicted).sum()),
            "prediction_only": int((true & ~predicted).sum()),
        }
    return found


def _cases(
    scored: Scored, held: HeldOut, loaded: Load, decision: Decision
) -> dict[str, list[Case]]:
    """Returns the worst, median, best and some random cases among the images with truth."""
    confusion = scored.confusion
    true = confusion[:, 1:].sum((1, 2))
    hits = np.trace(confusion[:, 1:, 1:], axis1=1, axis2=2)
    dice = 2 * hits / np.maximum(true + confusion[:, :, 1:].sum((1, 2)), 1)
    order = np.flatnonzero(true)[np.argsort(dice[true > 0], kind="stable")]
    if not len(order):
        return {}
    shown = min(_SHOWN, len(order))
    middle = (len(order) - shown) // 2
    chosen = {
        "worst": order[:shown],
        "median": order[middle : middle + shown],
        "best": order[::-1][:shown],
        "random": np.random.default_rng(0).choice(order, shown, replace=False),
    }
    places = sorted({place for some in chosen.values() for place in some.tolist()})
    cases = {
        place: Case(
            found.image,
            found.truth,
            decision.mask(found.probabilities),
            f"{held.split.ids[place]}  Dice {dice[place]:.3f}",
        )
        for place, found in zip(places, segmented(held.parts, loaded, places), strict=True)
    }
    return {kind: [cases[place] for place in some.tolist()] for kind, some in chosen.items()}


def _print_summary(found: Evaluation, output: Path) -> None:
    """Prints the main scores."""
    print(found.held.headline(found.step))
    print(f"  {found.verdict}")
    if len(found.classes) == 2:
        print(f"{found.decision} (chosen on {found.chosen_on})")
    _print_views(found.views)
    if found.native_views:
        print("in the images' own size:")
        _print_views(found.native_views)
    print(f"  {unlike_sentence(found.unlike)}")
    print(f"  written to {output}")


def _print_views(views: Sequence[View]) -> None:
    for name in dict.fromkeys(view.class_name for view in views):
        print(f"{name}:")
        for view in (view for view in views if view.class_name == name):
            told = [
                f"{score} {entry}"
                for score, entry in view.scores.items()
                if score in _TOLD and entry.is_known
            ]
            print(f"  {view.name:<24} {'  '.join(told) or 'no value: nothing to find'}")
