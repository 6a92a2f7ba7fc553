"""Which generated images are kept: by the discriminator's odds, and by their distance."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.linear_model import LogisticRegression

from common.program.errors import UserError
from configs import acgan_covid
from gan.flags import GANOptions
from gan.generate import generate
from gan.quality import sample
from gan.quality.evaluate import _points, _Source, evaluate
from gan.quality.reference import Reference
from gan.selection import Drawing, acceptance, kept_numbers, rejection, slope_of_odds
from gan.trained import Point
from tests.untrained import untrained


class TestAcceptance:
    """One-dimensional images, whose densities are known."""

    data, drawn = stats.norm(0.5, 0.8), stats.norm(0.0, 1.5)

    def logits(self, x):
        return self.data.logpdf(x) - self.drawn.logpdf(x)

    def test_the_kept_have_the_density_of_the_data(self):
        random = np.random.default_rng(0)
        x = self.drawn.rvs(50_000, random_state=random)
        chances = acceptance(self.logits(x), self.logits(x), 0.0)
        kept = x[random.uniform(size=len(x)) < chances]
        assert stats.kstest(x, self.data.cdf).pvalue < 1e-9
        assert stats.kstest(kept, self.data.cdf).pvalue > 0.01

    def test_the_chance_is_the_ratio_of_densities_beside_the_highest(self):
        x = np.linspace(-2, 2, 9)
        expected = np.exp(self.logits(x) - self.logits(x).max())
        np.testing.assert_allclose(acceptance(self.logits(x), self.logits(x), 0.0), expected)

    def test_a_percentile_is_kept_with_one_half(self):
        x = self.drawn.rvs(1001, random_state=0)
        chances = acceptance(self.logits(x), self.logits(x), 80.0)
        np.testing.assert_allclose(np.percentile(chances, 80), 0.5)

    def test_an_image_above_the_highest_is_kept(self):
        np.testing.assert_allclose(acceptance(np.array([9.0]), np.array([1.0, 2.0]), 0.0), 1)


class TestSlopeOfOdds:
    """Of logits that are 3 times the logarithm of the odds, and 2 more."""

    def slope(self, factor):
        random = np.random.default_rng(0)
        real, generated = random.normal(0.5, 1, 20_000), random.normal(-0.5, 1, 40_000)
        return slope_of_odds(factor * real + 2, factor * generated + 2)

    def test_it_turns_logits_into_logarithms_of_odds(self):
        np.testing.assert_allclose(self.slope(3), 1 / 3, rtol=0.02)

    def test_a_discriminator_that_is_wrong_has_a_negative_one(self):
        np.testing.assert_allclose(self.slope(-3), -1 / 3, rtol=0.02)

    def test_it_is_that_of_scikit_learn(self):
        random = np.random.default_rng(0)
        x, real = random.normal(size=3000), random.uniform(size=3000) < 0.3
        x[real] += 0.7
        expected = LogisticRegression(C=1e6).fit(x[:, None], real).coef_[0, 0]
        np.testing.assert_allclose(slope_of_odds(x[real], x[~real]), expected, rtol=0.01)

    def test_it_is_finite_where_logits_tell_all(self):
        assert 0 < slope_of_odds(np.array([3.0, 4.0]), np.array([-2.0, 1.0])) < 10

    def test_equal_logits_tell_nothing(self):
        assert slope_of_odds(np.ones(4), np.ones(3)) == 0


class Black(Drawing):
    def __init__(self):
        pass

    def images(self, seed, numbers, label):
        return np.zeros((len(numbers), 1, 1, 1), np.uint8)


def test_a_discriminator_that_prefers_generated_images_chooses_none():
    def whiteness(images, labels):
        return images.mean((1, 2, 3)) + np.arange(len(images)) / 1e3

    black = np.zeros((9, 1, 1, 1), np.uint8)
    real = black, np.zeros(9, np.int32)
    with pytest.raises(UserError, match="takes generated images for real rather than real ones"):
        rejection(Black(), 0, whiteness, real, 80.0)


class TestKeptNumbers:
    def numbers(self, count, keeps):
        """Of a generator that draws black pixels; `keeps` sees their numbers."""
        return kept_numbers(Black(), 0, 1, count, [lambda label, numbers, images: keeps(numbers)])

    def test_are_the_first_that_pass(self):
        found = self.numbers(300, lambda images: images % 3 == 0)
        np.testing.assert_array_equal(found, 3 * np.arange(300))

    def test_are_the_same_however_many_are_asked_for(self):
        few, many = (self.numbers(n, lambda x: x % 7 > 4) for n in (5, 200))
        np.testing.assert_array_equal(few, many[:5])

    def test_a_generator_of_which_nothing_is_kept_is_given_up(self):
        with pytest.raises(UserError, match="Only 0 of 1024 generated images are kept"):
            self.numbers(1, lambda images: images < 0)


def test_a_point_that_cannot_be_drawn_is_left_out_and_told(caplog):
    class Empty(_Source):
        def __init__(self):
            pass

        def drawn(self, point):
            raise UserError("Only 3 of 1024 generated images are kept.")

    none = np.zeros(0, int)
    reference = Reference("train", none, none, (), (), {}, {})
    assert not list(_points(Empty(), reference, 5, [Point(reject=95.0)]))
    assert "nothing is known of --reject=95: Only 3 of 1024" in caplog.text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = acgan_covid.get_config("tiny")
    config.seed = 1  # whose discriminator happens to prefer real images
    return untrained(config, tmp_path_factory.mktemp("gan") / "run")


def pictures(folder):
    files = sorted(folder.glob("*/*.png"))
    return {file.relative_to(folder).as_posix(): np.asarray(Image.open(file)) for file in files}


class TestModes:
    @pytest.fixture(autouse=True)
    def _without_vgg16(self, monkeypatch):
        monkeypatch.setattr("gan.selection._KNOWN", 64)
        monkeypatch.setattr("gan.generate.default_extractors", lambda size: "pixels")
        monkeypatch.setattr("gan.quality.variety.weights_are_bundled", lambda: False)

    def generate(self, run, folder, **options):
        generate(run, GANOptions(output=str(folder), **options))
        return pictures(folder)

    def test_the_kept_images_are_some_of_the_others_numbered_anew(self, run, tmp_path):
        kept = self.generate(run, tmp_path / "kept", num_images=6, reject=80.0, novel=True)
        drawn = self.generate(run, tmp_path / "all", num_images=64)
        names = [f"{label}/00000{i}.png" for label in ("COVID", "NonCOVID") for i in range(3)]
        assert sorted(kept) == names
        known = {image.tobytes(): name for name, image in drawn.items()}
        numbers = [known.get(kept[name].tobytes(), "") for name in names]
        assert numbers != names and any(numbers) and numbers[:3] == sorted(numbers[:3])

    def test_evaluate_measures_those_that_generate_writes(self, run, tmp_path, monkeypatch, caplog):
        seen = []
        monkeypatch.setattr(
            "gan.quality.evaluate.draw_images",
            lambda *args: seen.append(sample.draw_images(*args)) or seen[0],
        )
        monkeypatch.setattr("gan.quality.evaluate.CURVE", (Point(), Point(0.5)))
        flags = {"truncation": 0.7, "reject": 80.0}
        evaluate(run, GANOptions(images_per_class=8, extractors="pixels", curve=True, **flags))
        with caplog.at_level("INFO"):
            written = self.generate(run, tmp_path / "g", num_images=6, **flags)
        images, labels = seen[0]
        for label, name in enumerate(run.card.classes):
            for i, image in enumerate(images[labels == label][:3]):
                np.testing.assert_array_equal(written[f"{name}/{i:06d}.png"], image[..., 0])
        report = json.loads((run.workdir / "evaluation" / "evaluation.json").read_text())
        assert (report["truncation"], report["reject"]) == (0.7, 80)
        self.check_points(run, report, caplog.text)
        with pytest.raises(UserError, match=r"--workdir=\S+ --truncation=0.7, or leave out"):
            self.generate(run, tmp_path / "strict", strict=True, truncation=0.7)

    def check_points(self, run, report, said):
        """Checks that every point is written, and that generate says what its own scored."""
        points = report["points"]
        assert [Point(x["truncation"], x["reject"]) for x in points] == [
            *(Point(0.7, 80), Point(), Point(0.5))
        ]
        assert points[0]["kept"] < points[1]["kept"] == points[2]["kept"] == 1
        figures = report["quality"]["pixels"]["all"]
        recall = points[0]["quality"]["pixels"]["recall"]
        assert recall["same_n"] == figures["recall_pixels_train_64_16"]["same_n"]
        told = f"recall {recall['same_n']:.2f} ({recall['floor']:.2f}) by pixels features"
        assert "drawing with truncation 0.7, reject 80: precision" in said and told in said
        rows = list(csv.DictReader((run.workdir / "evaluation/points.csv").read_text().split("\n")))
        assert [(row["images"], row["truncation"]) for row in rows] == [
            *(("generated", "0.7"), ("generated", "1.0"), ("generated", "0.5"), ("real", ""))
        ]
        assert (run.workdir / "evaluation/points.png").stat().st_size > 1000

    def test_it_says_where_it_draws(self, run, tmp_path, caplog):
        with caplog.at_level("INFO"):
            self.generate(run, tmp_path, num_images=1, truncation=0.9)
        assert f"drawing from step 1 of {run.workdir} (its newest)" in caplog.text
        assert "drawing with truncation 0.9, reject 0; --mode=evaluate --workdir=" in caplog.text

    def test_a_walk_leaves_nothing_out(self, run, tmp_path):
        with pytest.raises(UserError, match="takes no --reject with --walk=linear"):
            self.generate(run, tmp_path, walk="linear", reject=80.0)
