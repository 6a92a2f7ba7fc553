"""Films: every picture once, in order, whatever its channels."""

import numpy as np
import pytest
from PIL import Image

from common.report.film import write_film, write_training_film
from common.report.images import write_picture
from common.report.series import drawn, picture_file


def greys(file):
    """Returns the mean brightness of every frame."""
    with Image.open(file) as film:
        means = []
        for frame in range(film.n_frames):
            film.seek(frame)
            means.append(np.asarray(film.convert("L")).mean())
        return means


def test_a_film_shows_its_frames_in_order(tmp_path):
    frames = [np.full((20, 30, 1), level, np.uint8) for level in (0, 100, 200)]
    write_film(tmp_path / "a.webp", frames)
    np.testing.assert_allclose(greys(tmp_path / "a.webp"), [0, 100, 200], atol=3)
    with Image.open(tmp_path / "a.webp") as film:
        assert film.size == (30, 20) and film.info["loop"] == 0


def test_the_pictures_of_a_run_become_one_film(tmp_path):
    for step in range(300):
        level = np.full((16, 16, 3), step * 37 % 256, np.uint8)
        write_picture(picture_file(tmp_path, step * 50, "samples"), level)
    write_picture(picture_file(tmp_path, 0, "others"), np.zeros((16, 16, 1), np.uint8))
    for name, files in drawn(tmp_path, ["samples", "others"]).items():
        write_training_film(tmp_path / f"{name}.webp", list(files.values()))
    means = greys(tmp_path / "samples.webp")
    assert len(means) == 120
    np.testing.assert_allclose([means[0], means[-1]], [0, 299 * 37 % 256], atol=3)
    assert not (tmp_path / "others.webp").exists()  # one picture does not move


@pytest.mark.parametrize("damage", [b"", b"no picture", "half"])
def test_a_damaged_picture_is_left_out_and_named(tmp_path, caplog, damage):
    files = [picture_file(tmp_path, step, "samples") for step in (1, 50, 100)]
    for level, file in zip((0, 100, 200), files, strict=True):
        write_picture(file, np.full((16, 16, 3), level, np.uint8))
    files[1].write_bytes(files[1].read_bytes()[:50] if damage == "half" else damage)
    write_training_film(tmp_path / "samples.webp", files)
    np.testing.assert_allclose(greys(tmp_path / "samples.webp"), [0, 200], atol=3)
    assert "000050_samples.png is damaged" in caplog.text


def test_a_name_that_ends_as_another_does_is_another(tmp_path):
    names = ("samples", "real_samples")
    for name in names:
        write_picture(picture_file(tmp_path, 1, name), np.zeros((16, 16, 1), np.uint8))
    assert list(drawn(tmp_path, names)) == ["real_samples", "samples"]
    assert [*drawn(tmp_path, ["samples"])["samples"].values()] == [tmp_path / "000001_samples.png"]
