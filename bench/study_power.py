"""Says beforehand what gains a study of folds would find, from simulated patients and trainings.

    python bench/study_power.py [--patients=329] [--folds=5] [--comparisons=4] [--looks=2]

Two arms of an AUC of 0.75 and 0.78, two images of each patient, five seeds; patients, images and
trainings vary as in tests/studies/test_statistics.py. From the parts of the variance of each of 24
studies follows what studies with more seeds would find; printed are the medians.
"""

import argparse
import math
from collections.abc import Iterator
from statistics import median

import numpy as np
from scipy.stats import norm

from common.scores.classification import Predicted
from studies.statistics import Spread, corrected_level, measure_folds, spread

STUDIES, SEEDS, RESAMPLES = 24, 5, 300
AREA, GAIN = 0.75, 0.03
OWN, NOISE, OF_SEED = 0.6, 0.5, 0.1  # deviations: of what arms share, of a training, of a seed


def main() -> None:
    """Prints a row for each number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=329)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--comparisons", type=int, default=4)
    parser.add_argument("--looks", type=int, default=2)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    found = [simulated(rng, args.patients // args.folds, args.folds) for _ in range(STUDIES)]
    level = corrected_level(args.comparisons * args.looks)
    print(f"| seeds | a gain of {GAIN} is found by | the smallest gain that 80 % find |")
    print("|---|---|---|")
    for seeds in (5, 10, 12, 15):
        some = [one.with_seeds(seeds) for one in found]
        power = median(one.power(GAIN, level) for one in some)
        smallest = median(one.smallest_gain(level) for one in some)
        print(f"| {seeds} | {power:.0%} | {smallest:.3f} |")


def simulated(rng: np.random.Generator, patients: int, folds: int) -> Spread:
    """Returns the parts of the variance of a difference, with so many patients in each fold."""
    who, labels = np.repeat(np.arange(patients), 2), np.repeat(np.arange(patients) % 2, 2)
    ids, groups = tuple(map(str, range(len(labels)))), tuple(map(str, who))
    hard = [
        rng.normal(scale=OWN, size=patients)[who] + rng.normal(scale=OWN, size=len(labels))
        for _ in range(folds)
    ]

    def trainings(area: float) -> Iterator[Predicted]:
        distance = norm.ppf(area) * math.sqrt(4 * OWN**2 + 4 * NOISE**2)
        for of_fold in hard:
            of_patients = rng.normal(scale=NOISE, size=patients)[who]
            logits = (labels - 0.5) * (distance + rng.normal(scale=OF_SEED)) + of_fold + of_patients
            chance = norm.cdf(logits + rng.normal(scale=NOISE, size=len(labels)))
            yield Predicted(ids, groups, labels, np.stack([1 - chance, chance], 1))

    base, more = (
        measure_folds([list(trainings(area)) for _ in range(SEEDS)], ("a", "b"), RESAMPLES)
        for area in (AREA, AREA + GAIN)
    )
    parts = spread(more["roc_auc_macro"] - base["roc_auc_macro"])
    assert parts is not None, "both classes are in every fold"
    return parts


if __name__ == "__main__":
    main()
