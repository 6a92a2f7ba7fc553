"""Scores of translations against closed forms, SciPy and plain loops."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from common.data.prepared.prepared import Split
from common.data.settings import DataSettings
from common.runs.evaluation import HeldOut
from common.scores.bootstrap import Score
from common.scores.ssim import ssim
from translate.baselines import bodies, fit_line
from translate.scores import psnr, scores_in
from translate.summary import differences, over_patients
from translate.verdict import verdict

RNG = np.random.default_rng(0)


def images(count=3, size=16):
    return RNG.uniform(0, 1, (count, size, size, 1)).astype(np.float32)


def test_psnr_has_its_closed_form():
    """An error of 0.1 everywhere is 20 dB, half of it 6 dB more; equal images count as 100 dB."""
    zeros = jnp.zeros((2, 12, 12, 1))
    np.testing.assert_allclose(psnr(zeros + 0.1, zeros), 20, rtol=1e-5)
    np.testing.assert_allclose(psnr(zeros + 0.05, zeros), 20 + 20 * np.log10(2), rtol=1e-5)
    np.testing.assert_allclose(psnr(zeros, zeros), 100, rtol=1e-5)


def test_over_the_whole_image_scores_are_the_usual_ones():
    found, true = images(), images()
    scores = scores_in(np.ones((3, 16, 16), bool), found, true)
    np.testing.assert_allclose(scores["mae"], np.abs(found - true).mean((1, 2, 3)), rtol=1e-5)
    on_device = jnp.asarray(found), jnp.asarray(true)
    np.testing.assert_allclose(scores["psnr"], psnr(*on_device), rtol=1e-5)
    np.testing.assert_allclose(scores["ssim"], ssim(*on_device), rtol=1e-4)


def test_a_region_counts_its_pixels_alone():
    true = images(2)
    found, region = true.copy(), np.zeros((2, 16, 16), bool)
    region[0, 3:9, 4:12] = True
    found[0, 3:9, 4:12] += 0.1
    found[0, 12:, 12:] += 0.5  # outside
    scores = scores_in(region, found, true)
    np.testing.assert_allclose(scores["mae"], [0.1, np.nan], rtol=1e-4)
    np.testing.assert_allclose(scores["psnr"], [20, np.nan], rtol=1e-4)
    assert np.isnan(scores["ssim"][1])


def test_the_body_includes_what_it_encloses():
    image = np.zeros((1, 9, 9, 1), np.float32)
    image[0, 2:7, 2:7] = 0.5
    image[0, 4, 4] = 0  # a ventricle
    target = np.zeros_like(image)
    target[0, 0, 0] = 0.5
    body = bodies(image, target)[0]
    assert body.sum() == 26 and body[4, 4] and body[0, 0] and not body[8, 8]


def test_the_line_is_that_of_least_squares():
    pairs = RNG.integers(20, 256, (4, 2, 8, 8, 1)).astype(np.uint8)
    examples = [{"image": image, "target": target} for image, target in pairs]
    split = Split(examples, np.arange(4), tuple("abcd"), ("",) * 4)
    x, y = (pairs[:, side].ravel() / 255 for side in (0, 1))
    slope, intercept = np.polyfit(x, y, 1)
    np.testing.assert_allclose(fit_line(split), (slope, intercept), rtol=1e-4)
    back = fit_line(split, "target", "image")
    np.testing.assert_allclose(back, np.polyfit(y, x, 1), rtol=1e-4)
    air = np.zeros((1, 8, 8, 1), np.float32)
    np.testing.assert_array_equal(back.translate(air), air)


def scored(ours, theirs):
    regions = {"body": {"mae": np.array(ours)}}
    return {"translated": regions, "input": {"body": {"mae": np.array(theirs)}}}


def test_the_mean_is_over_patients_and_images_without_a_score_do_not_count():
    values = scored([1, 3, 10, np.nan], [0, 0, 0, np.nan])
    found = over_patients(values, ("p1", "p1", "p2", "p3"))["translated"]["body"]["mae"]
    assert found.value == pytest.approx((2 + 10) / 2)
    assert (found.low, found.high) == pytest.approx((2, 10))


def test_differences_are_of_the_same_patients():
    """All patients differ by 1, however much they differ from each other."""
    values = scored([1.0, 5, 20], [2.0, 6, 21])
    apart = differences(values, "translated", ("p1", "p2", "p3"))
    assert apart == {"input": {"body": {"mae": Score(-1.0, -1.0, -1.0)}}}


def test_the_verdict_compares_with_each_baseline():
    groups = tuple(f"p{number}" for number in range(10))
    split = Split([], np.arange(10), groups, groups)
    held = HeldOut(SimpleNamespace(synthetic=False), split, "test", DataSettings(), ())
    scores = {"body": {"mae": Score(0.1, 0.08, 0.12)}, "tumour": {"mae": Score(*[np.nan] * 3)}}
    gains = {
        "input": {"body": {"mae": Score(-0.02, -0.03, -0.01)}},
        "regression": {"body": {"mae": Score(0.01, 0.005, 0.02)}},
    }
    assert verdict(scores, gains, held) == (
        "In the body, translations are 10.0 % [8.0, 12.0] of the range of grey levels off:"
        " by 2.0 % nearer than the input itself and by 1.0 % farther than a regression of grey"
        " levels. No image has any tumour, so there is no score of it."
    )
