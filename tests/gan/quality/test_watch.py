"""The collapse watch: each sentence is said when its fault sets in, once, and not before."""

import pytest

from common.config.defaults import check
from common.data.prepared.prepared import prepare
from common.program.errors import UserError
from configs import acgan_covid
from gan.config import RULES, GANSettings, QualitySettings
from gan.quality.watch import CollapseWatch, measurement
from gan.sampling import Sampler
from gan.state import make_gan

VARIETIES = {"of_a": "A", "of_b": "B"}


def said(*rows, probabilities=True):
    """Returns the sentences of each row of metrics, 100 steps apart."""
    watch = CollapseWatch("frechet", "spread", VARIETIES, lambda: 1.0, probabilities)
    watch.warnings(0, {"frechet": 99.0})
    return [watch.warnings(100 * (i + 1), row) for i, row in enumerate(rows)]


def test_a_healthy_game_is_not_spoken_of():
    healthy = {
        "train/discriminator_output_real": 0.6,
        "train/discriminator_output_fake": 0.4,
        "spread": 0.9,
    }
    assert said(*({**healthy, "frechet": x} for x in (9.0, 5.0, 8.0, 4.0))) == [[]] * 4


def test_a_sure_discriminator_is_saturated():
    sure = {"train/discriminator_output_real": 0.99, "train/discriminator_output_fake": 0.01}
    half_sure = {**sure, "train/discriminator_output_fake": 0.2}
    assert said(half_sure) == [[]]
    ((sentence,),) = said(sure)
    assert sentence.startswith("Step 100: the discriminator is saturated (0.990 for real and 0.010")


def test_the_first_evaluation_sees_a_collapse():
    watch = CollapseWatch("frechet", "spread", VARIETIES, lambda: 1.0, True)
    collapsed = {"frechet": 50.0, "spread": 0.01, "of_a": 0.02, "of_b": 0.9}
    spread, pairs = watch.warnings(100, collapsed)
    assert "vary 1% as much" in spread and "images of A differ 2% as much" in pairs
    assert watch.warnings(200, collapsed) == []


def test_the_class_with_least_variety_is_named():
    ((sentence,),) = said({"of_a": 0.3, "of_b": 0.1})
    assert "pairs of generated images of B differ 10% as much as real ones" in sentence
    assert said({"of_a": 0.5, "of_b": 0.45}) == [[]]


def test_a_best_below_its_floor_is_luck():
    assert said(*({"frechet": x} for x in (0.1, 1.9, 1.9))) == [[]] * 3
    assert len(said(*({"frechet": x} for x in (0.1, 2.1, 2.1)))[2]) == 1


def test_scores_that_are_no_probabilities_say_nothing_of_saturation():
    scores = {"train/discriminator_output_real": 7.0, "train/discriminator_output_fake": -9.0}
    assert said(scores, probabilities=False) == [[]]


def test_few_pictures_are_a_collapse():
    ((sentence,),) = said({"spread": 0.1})
    assert "vary 10% as much as real ones" in sentence
    assert said({"spread": 0.3}) == [[]]


def test_a_distance_that_grows_twice_in_a_row_is_reported_with_its_best():
    found = said(*({"frechet": x} for x in (10.0, 4.0, 9.0, 7.0, 9.0, 10.0)))
    assert found[:5] == [[]] * 5
    (sentence,) = found[5]
    assert "is 10, more than twice its best, 4 at step 200" in sentence
    assert "--config.train.best_metric=frechet" in sentence


def test_a_failure_warns_when_it_begins_and_again_after_a_recovery():
    found = said(*({"spread": x} for x in (0.1, 0.1, 0.8, 0.1)))
    assert [len(sentences) for sentences in found] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("on_collapse", "panic", "it must be 'warn' or 'stop'"),
        ("extractor", "pixels,radiomic", "--mode=evaluate --extractors"),
        ("extractor", "fid", "names no features"),
        ("num_images", 5, "needs 6 of both"),
    ],
)
def test_invalid_settings_are_refused(setting, value, message):
    config = acgan_covid.get_config("tiny")
    config.quality[setting] = value
    prepared = prepare(config.data)
    gan = make_gan(GANSettings.of(config), prepared.card)
    with pytest.raises(UserError, match=message):
        check(config, RULES)
        measurement(gan, Sampler(gan), prepared, QualitySettings.of(config.quality), "")


def test_no_extractor_measures_nothing():
    config = acgan_covid.get_config("tiny")
    config.quality.extractor = ""
    prepared = prepare(config.data)
    gan = make_gan(GANSettings.of(config), prepared.card)
    assert measurement(gan, Sampler(gan), prepared, QualitySettings.of(config.quality), "") is None
