"""The result of a study as a table, a figure and sentences, whatever it is."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.prepared.prepared import DataCard
from common.program.files import write_atomically
from common.runs.evaluation import Counts, counts_of, write_report, write_table
from common.scores.classification import Predicted
from studies.config import METRICS, Study
from studies.rows import FIRST, Row, signed
from studies.statistics import RESAMPLES, Interval, corrected_level, interval, measure_folds, spread

_SEEDS = (5, 10, 20)  # for which the report says what could be seen


def write_results(
    workdir: Path,
    study: Study,
    card: DataCard,
    rows: Sequence[Row],
    groups: Sequence[str],
) -> str:
    """Writes utility.json, utility.csv, utility.png and report.md; returns the conclusion.

    Args:
      workdir: of the study.
      study: what was done.
      card: of the data.
      rows: of `compare`.
      groups: the group of each test image; "" if unknown.
    """
    counts = counts_of(groups)
    facts = {
        "data": card.name,
        "synthetic": card.synthetic,
        "classes": list(card.classes),
        "test_images": counts.images,
        "test_patients": counts.patients,
        "test_images_of_unknown_patients": counts.images_of_unknown_patients,
        "seeds": list(study.seeds),
        "folds": study.folds,
        "comparisons": study.comparisons,
        "looks": list(study.looks),
        "level_of_differences": level_of(study),
        "resamples": RESAMPLES,
    }
    said = conclusion(rows, len(study.seeds), drawings=card.synthetic)
    write_report(
        workdir,
        {**facts, "conclusion": said, "rows": [row.cells() for row in rows]},
        "utility.json",
    )
    write_table(workdir / "utility.csv", [row.cells() for row in rows])
    write_atomically(workdir / "report.md", _page(rows, facts, counts, said, card))
    from studies.figure import draw  # matplotlib takes a second to import

    draw(rows, METRICS[FIRST], FIRST, workdir / "utility.png", card.caption)
    return said


def compare(
    study: Study,
    classes: Sequence[str],
    real: Mapping[str, int],
    predicted: Mapping[tuple[str, int, str], Sequence[Predicted]],
) -> list[Row]:
    """Returns a row for each size and arm.

    Args:
      study: what was done.
      classes: of the data.
      real: training images of each size.
      predicted: by size, seed and arm, those of each fold in turn, all of the same test images.
    """
    rows, level = [], level_of(study)
    for size in study.sizes:
        found = {
            arm.name: measure_folds(
                [predicted[size, seed, arm.name] for seed in study.seeds], classes
            )
            for arm in study.arms
        }
        for arm in study.arms:
            own, base = found[arm.name], found.get(arm.base, {})
            differences = {
                name: interval(own[name] - base[name], level).within(-1.0, 1.0)
                for name in METRICS
                if base
            }
            scores = {name: interval(own[name]).within(0.0, 1.0) for name in METRICS}
            parts = spread(own[FIRST] - base[FIRST]) if base else None
            rows.append(Row(size, real[size], arm, scores, differences, parts))
    return rows


def level_of(study: Study) -> float:
    """Returns the level of a difference's interval, corrected for all of them in all looks."""
    return corrected_level(study.comparisons * len(study.looks))


def conclusion(rows: Sequence[Row], seeds: int, drawings: bool) -> str:
    """Returns sentences on the effect of synthetic images, derived from the intervals alone."""
    mixed = [row for row in rows if row.arm.real and row.arm.ratio]
    helped = [row for row in mixed if row.differences[FIRST].low > 0]
    harmed = [row for row in mixed if row.differences[FIRST].high < 0]
    name, said = METRICS[FIRST], []
    if drawings:
        said.append("The images are drawings, not patients: this has no medical meaning.")
    if mixed:
        undecided = len(mixed) - len(helped) - len(harmed)
        said.append(
            f"Adding synthetic images to real ones raised the {name} in {len(helped)} of"
            f" {len(mixed)} comparisons and lowered it in {len(harmed)}; in {undecided} no"
            " difference could be shown."
        )
    if mixed and not helped:
        said.append("It has not been shown here that synthetic data help.")
    if seeds == 1:
        said.append("With one seed, the intervals do not include the variation between trainings.")
    elif mixed and not helped and not harmed:
        most = max(row.differences[FIRST].high for row in mixed)
        if most < 1:
            said.append(f"Gains of more than {most:.3f} in {name} can be ruled out.")
    return " ".join(said)


def _page(
    rows: Sequence[Row], facts: Mapping[str, Any], counts: Counts, said: str, card: DataCard
) -> str:
    level, seeds = facts["level_of_differences"], ", ".join(map(str, facts["seeds"]))
    parts = facts["folds"]
    looks = _looked(facts["looks"], len(facts["seeds"]))
    folds = f",\neach once, in {parts} folds, whose scores are averaged" if parts else ""
    head = [
        "images a class",
        "arm",
        *METRICS.values(),
        *(f"{m}: difference" for m in METRICS.values()),
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        scores = [_plain(row.scores[name]) for name in METRICS]
        differences = [signed(row.differences[name]) if row.differences else "" for name in METRICS]
        lines.append("| " + " | ".join([row.size, row.arm.name, *scores, *differences]) + " |")
    table = "\n".join(lines)
    sentences = "\n".join(f"- {row.sentence()}" for row in rows if row.differences)
    return f"""# Does synthetic data help?

{said}

{sentences}

![{METRICS[FIRST]} and differences](utility.png)

{table}

Data: {card.caption}; tested on {counts.told}{folds};
seeds {seeds}. Scores are means over seeds with 95 % intervals. Differences are paired: augmented+R
with 'augmented', all others with 'real'. Their intervals, each of level {100 * level:.2f} %, are
corrected for {facts["comparisons"]} comparisons of a score{looks} (Bonferroni). All intervals cover
{counts.intervals_over} and seeds: a paired bootstrap of the former ({facts["resamples"]} draws),
the spread of the latter, and Student's t.

## What such a study can see

{_visible(rows, len(facts["seeds"]), level)}
"""


def _looked(looks: Sequence[int], seeds: int) -> str:
    """Returns when the study looked at its result, for a sentence; "" if at its end alone."""
    if len(looks) == 1:
        return ""
    *before, last = looks
    numbers = ", ".join(map(str, before))
    stopped = f"; it stopped after {seeds}, because all was clear" if seeds < last else ""
    return f"\nand for looks after {numbers} and {last} seeds{stopped}"


def _visible(rows: Sequence[Row], seeds: int, level: float) -> str:
    """Returns a table of the gains that 80 % of such studies would find, by the number of seeds."""
    if seeds < 2:
        return "One seed does not tell how much trainings differ; with two or more, this says it."
    numbers = [seeds, *(n for n in _SEEDS if n > seeds), math.inf]
    head = ["images a class", "arm", *(f"{n:g} seeds" for n in numbers[:-1]), "any number"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in (row for row in rows if row.differences):
        gains = [row.visible(level, n) for n in numbers]
        told = " | ".join(f"{x:.3f}" if x < 1 else "none" for x in gains)  # no score can gain more
        lines.append(f"| {row.size} | {row.arm.name} | {told} |")
    return (
        f"The smallest gain in {METRICS[FIRST]} that 80 % of studies with so many seeds would find"
        " (noncentral t), if patients and trainings vary as they did here. Only more patients lower"
        " the last column. Three seeds tell little of how trainings vary, so of three seeds these"
        " are rough figures.\n\n" + "\n".join(lines)
    )


def _plain(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
