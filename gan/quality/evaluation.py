"""What an evaluation of generated images measures, writes and prints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.data.prepared.prepared import DataCard, Prepared
from common.runs.evaluation import EVALUATION, write_report, write_table
from common.runs.judge import Judge, Judged
from gan.quality.classification import SHOWN, Classification
from gan.quality.figures import ALL, Figure, quality
from gan.quality.novelty import SUSPICIOUS, Novelty, Scores, check_memorization
from gan.quality.points import Measured, draw_points, table_of
from gan.quality.reference import Images, Labels, Reference
from gan.quality.sample import Sample
from gan.quality.variety import Diversity, Pairs, measures_of_pairs
from gan.quality.verdict import verdict

QUALITY, JUDGED, POINTS, CURVES = "quality.csv", "judge.png", "points.csv", "points.png"
FILES = (SUSPICIOUS, JUDGED, QUALITY, POINTS, CURVES, EVALUATION)
SPLIT = "train"  # of the real images that generated ones are compared with


@dataclass(frozen=True)
class Evaluation:
    """What is known of generated images.

    Attributes:
      headline: what they are and what they are compared with.
      facts: this and how they were made, for the report.
      card: of the real images.
      k: neighbours, see `manifold_scores`.
      extractors: their names.
      figures: by every extractor, of all images and of each class.
      diversities: of each class, or of all images.
      novelty: whether the images are new.
      judge: what is known of the classifier that judged them; None without one.
      judged: what it found.
      points: what images from here score, and from elsewhere; () of images from no generator.
      classes: what the discriminator scores as a classifier; None if it is none.
    """

    headline: str
    facts: Mapping[str, object]
    card: DataCard
    k: int
    extractors: tuple[str, ...]
    figures: tuple[Figure, ...]
    diversities: Mapping[str, tuple[Diversity, ...]]
    novelty: Novelty
    judge: Judge | None
    judged: Judged | None
    points: tuple[Measured, ...] = ()
    classes: Classification | None = None

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
            "verdict": verdict(self.figures, self.diversities, self.novelty),
            **self.facts,
            "data": self.card.name,
            "synthetic": self.card.synthetic,
            "reference": SPLIT,
            "k": self.k,
            "quality": quality,
            "diversity": diversity,
            "memorization": self.novelty.report(),
        }
        if self.points:
            report["points"] = self.points
        if self.judge:
            report["judge"] = {**self.judge.facts, "generated": self.judged}
        if self.classes:
            report |= self.classes.report()
        return report

    def rows(self) -> list[dict[str, object]]:
        """Returns the rows of quality.csv."""
        return [
            {"figure": name, "class": figure.comparison.class_name, **entry}
            for figure in self.figures
            for name, entry in figure.entries()
        ]


@dataclass(frozen=True)
class Judging:
    """A classifier that judges generated images, and what its figure says of it."""

    judge: Judge
    caption: str


@dataclass(frozen=True)
class Compared:
    """What generated images are compared with.

    Attributes:
      prepared: the real images.
      reference: those of them that figures are of.
      k: neighbours, see `manifold_scores`.
      mirrored: whether the generator's training mirrored its images.
      scores: of its discriminator, see `scores_of`; None if it is not known.
    """

    prepared: Prepared
    reference: Reference
    k: int
    mirrored: bool
    scores: Callable[[Images, Labels], Scores] | None


def measured(
    real: Compared,
    generated: tuple[Images, Labels],
    told: tuple[str, Mapping[str, object]],
    judging: Judging | None,
    output: Path,
) -> Evaluation:
    """Measures generated images; draws the pictures of what it finds.

    Args:
      real: what they are compared with.
      generated: images and their classes; 0 without classes.
      told: headline and facts, see `Evaluation`.
      judging: the judge; None for none.
      output: the folder to write to.
    """
    images, labels = generated
    reference, card = real.reference, real.prepared.card
    extractors = reference.extractors
    features = {name: extractors[name].extract(images) for name in extractors}
    figures = [quality(reference, name, made, labels, real.k) for name, made in features.items()]
    measures = measures_of_pairs(card.image_size)
    pairs = Pairs(real.prepared.splits[SPLIT], reference, measures)
    sample = Sample(images, labels, features)
    novelty = check_memorization(
        output, real.prepared, reference, sample, real.scores, real.mirrored
    )
    judged = None
    if judging:
        caption = f"generated images, {judging.caption}"
        judged = judging.judge.report(images, labels, output / JUDGED, caption)
    return Evaluation(
        headline=told[0],
        facts=told[1],
        card=card,
        k=real.k,
        extractors=tuple(features),
        figures=tuple(figure for some in figures for figure in some),
        diversities=pairs.compare(images, labels),
        novelty=novelty,
        judge=judging.judge if judging else None,
        judged=judged,
    )


def write(found: Evaluation, output: Path) -> None:
    """Writes the report, the table of figures and, of several points, their table and picture."""
    write_report(output, found.report())
    if rows := found.rows():
        write_table(output / QUALITY, rows)
    if len(found.points) > 1 and (rows := table_of(found.points)):
        write_table(output / POINTS, rows)
        draw_points(found.points, output / CURVES, found.headline)


def print_summary(found: Evaluation, output: Path) -> None:
    """Prints the verdict, all figures, and where the files are."""
    print(found.headline)
    if found.card.synthetic:
        print("These are drawings, not patients.")
    print(f"  {verdict(found.figures, found.diversities, found.novelty)}")
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
    if found.classes:
        held = found.classes.held
        print(f"  the discriminator as a classifier of {held.counts.told} ({held.name}):")
        for name in SHOWN:
            print(f"  {name:<28} {found.classes.scores[name]}")
    print(f"  written to {output}")
