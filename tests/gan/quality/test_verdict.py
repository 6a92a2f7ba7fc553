"""The verdict of an evaluation: each word at its bounds, the least varied class by name."""

import pytest

from gan.quality.figures import ALL, Comparison, Figure
from gan.quality.novelty import Novelty
from gan.quality.variety import Diversity
from gan.quality.verdict import verdict

NEW = Novelty(can_tell=True, memorized=False, verdict="No sign of memorisation.")


def figures(coverage, frechet, extractor="radiomic", class_name=ALL):
    """Figures beside floors of 0.9 and 2.0."""
    compared = Comparison(extractor, class_name, "train", 100, 200)
    return [
        Figure("coverage", compared, 1.0, coverage, 0.9),
        Figure("frechet", compared, 1.0, frechet, 2.0),
    ]


@pytest.mark.parametrize(
    ("coverage", "frechet", "words"),
    [
        (0.85, 3.9, "As near to real images as other real images are"),
        (0.85, 4.1, "Near to real images"),
        (0.6, 9.9, "Near to real images"),
        (0.3, 30.0, "Some way from real images"),
        (0.85, 41.0, "Far from real images"),
        (0.1, 2.0, "Far from real images"),
    ],
)
def test_nearness_needs_both_coverage_and_distance(coverage, frechet, words):
    said = verdict(figures(coverage, frechet), {}, NEW)
    assert said.startswith(f"{words}, by radiomic features: coverage {coverage:.2f} (of real")
    assert said.endswith("No sign of memorisation.")


def test_features_that_no_critic_was_pretrained_with_decide():
    both = figures(0.85, 3.0, "vgg16") + figures(0.1, 90.0, "radiomic")
    assert verdict(both, {}, NEW).startswith("Far from real images, by radiomic features")
    assert verdict(both[:2], {}, NEW).startswith("As near to real images")


def test_classes_alone_do_not_decide():
    of_class = figures(0.85, 3.0, class_name="A")
    assert verdict(of_class, {}, NEW) == "No sign of memorisation."


def test_the_least_varied_class_is_named_by_the_measure_that_shows_it():
    found = {
        "A": (Diversity("ms_ssim", 0.4, 0.4), Diversity("lpips", 0.3, 0.4)),
        "B": (Diversity("ms_ssim", 0.8, 0.2), Diversity("lpips", 0.4, 0.4)),
    }
    said = verdict([], found, NEW)
    assert said.startswith("Collapsed: pairs of B differ 25% as much as real pairs (MS-SSIM).")
    del found["B"]
    assert verdict([], found, NEW).startswith("Less varied than real images: pairs of A differ 75%")


def test_an_unconditional_generators_pairs_are_of_no_class():
    found = {ALL: (Diversity("lpips", 0.4, 0.4),)}
    assert verdict([], found, NEW).startswith("As varied as real images: pairs differ 100%")
