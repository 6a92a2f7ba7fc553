"""Which generated images are kept: by the discriminator's odds, and by their distance."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from common.program.errors import UserError
from configs import acgan_covid
from gan.flags import GANOptions
from gan.generate import generate
from gan.quality import sample
from gan.quality.evaluate import evaluate
from gan.selection import Drawing, acceptance, kept_numbers
from tests.untrained import untrained


class TestAcceptance:
    """One-dimensional images, whose densities are known."""

    data, drawn = stats.norm(0.5, 0.8), stats.norm(0.0, 1.5)

    def logits(self, x):
        return self.data.logpdf(x) - self.drawn.logpdf(x)

    def test_the_kept_have_the_density_of_the_data(self):
        random = np.random.default_rng(0)
        x = self.drawn.rvs(50_000, random_state=random)
        chances = acceptance(self.logits(x), self.logits(x), None)
        kept = x[random.uniform(size=len(x)) < chances]
        assert stats.kstest(x, self.data.cdf).pvalue < 1e-9
        assert stats.kstest(kept, self.data.cdf).pvalue > 0.01

    def test_the_chance_is_the_ratio_of_densities_beside_the_highest(self):
        x = np.linspace(-2, 2, 9)
        expected = np.exp(self.logits(x) - self.logits(x).max())
        np.testing.assert_allclose(acceptance(self.logits(x), self.logits(x), None), expected)

    def test_a_percentile_is_kept_with_one_half(self):
        x = self.drawn.rvs(1001, random_state=0)
        chances = acceptance(self.logits(x), self.logits(x), 80.0)
        np.testing.assert_allclose(np.percentile(chances, 80), 0.5)

    def test_an_image_above_the_highest_is_kept(self):
        np.testing.assert_allclose(acceptance(np.array([9.0]), np.array([1.0, 2.0]), None), 1)


class Black(Drawing):
    def __init__(self):
        pass

    def images(self, seed, numbers, label):
        return np.zeros((len(numbers), 1, 1, 1), np.uint8)


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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained(acgan_covid.get_config("tiny"), tmp_path_factory.mktemp("gan") / "run")


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
        kept = self.generate(run, tmp_path / "kept", num_images=6, reject=True, novel=True)
        drawn = self.generate(run, tmp_path / "all", num_images=64)
        names = [f"{label}/00000{i}.png" for label in ("COVID", "NonCOVID") for i in range(3)]
        assert sorted(kept) == names
        known = {image.tobytes(): name for name, image in drawn.items()}
        numbers = [known.get(kept[name].tobytes(), "") for name in names]
        assert numbers != names and any(numbers) and numbers[:3] == sorted(numbers[:3])

    def test_evaluate_measures_those_that_generate_writes(self, run, tmp_path, monkeypatch):
        seen = []
        monkeypatch.setattr(
            "gan.quality.evaluate.draw_images",
            lambda *args: seen.append(sample.draw_images(*args)) or seen[0],
        )
        evaluate(run, GANOptions(images_per_class=3, extractors="pixels", reject=True))
        written = self.generate(run, tmp_path / "g", num_images=6, reject=True)
        images, labels = seen[0]
        for label, name in enumerate(run.card.classes):
            for i, image in enumerate(images[labels == label]):
                np.testing.assert_array_equal(written[f"{name}/{i:06d}.png"], image[..., 0])
        report = json.loads((run.workdir / "evaluation" / "evaluation.json").read_text())
        assert report["reject"] is True
        with pytest.raises(UserError, match="It is unknown whether the generator of step 1"):
            self.generate(run, tmp_path / "strict", strict=True)  # of images without --reject

    def test_it_says_which_checkpoint_it_draws_from(self, run, tmp_path, caplog):
        with caplog.at_level("INFO"):
            self.generate(run, tmp_path, num_images=1)
        assert f"drawing from step 1 of {run.workdir} (its newest)" in caplog.text

    def test_odds_need_a_discriminator_that_gives_them(self, run, tmp_path):
        config = acgan_covid.get_config("tiny")
        config.loss.name = "hinge"
        hinge = untrained(config, tmp_path / "run")
        with pytest.raises(UserError, match="gives the odds of real images"):
            self.generate(hinge, tmp_path / "out", reject=True)

    def test_a_walk_leaves_nothing_out(self, run, tmp_path):
        with pytest.raises(UserError, match="takes no --reject with --walk=linear"):
            self.generate(run, tmp_path, walk="linear", reject=True)
