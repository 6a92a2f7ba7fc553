"""Films: every picture once, in order, whatever its channels."""

import numpy as np
from PIL import Image

from common.report.film import write_film, write_training_film
from common.report.images import write_picture


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
        write_picture(tmp_path / f"{step * 50:06d}_samples.png", level)
    write_picture(tmp_path / "000000_others.png", np.zeros((16, 16, 1), np.uint8))
    write_training_film(tmp_path, "samples")
    write_training_film(tmp_path, "others")
    means = greys(tmp_path / "samples.webp")
    assert len(means) == 120
    np.testing.assert_allclose([means[0], means[-1]], [0, 299 * 37 % 256], atol=3)
    assert not (tmp_path / "others.webp").exists()  # one picture does not move
