"""The GAN for any folder: few images or many, one class or ten, grey or in colour."""

import numpy as np
import pytest
from PIL import Image

SIZE = 48


def folder_of(folder, num_images, num_classes, mode):
    """Writes noisy discs, larger from class to class, and returns their folder."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for number in range(num_images):
        label = number % num_classes
        centre = rng.uniform(0.4, 0.6, 2) * SIZE
        disc = np.hypot(rows - centre[0], columns - centre[1]) < 6 + label
        pixels = 60 + 120 * disc[..., None] + rng.normal(0, 8, (SIZE, SIZE, 3))
        place = folder / (f"class_{label}" if num_classes > 1 else "") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode).save(place)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("num_classes", [1, 2, 10])
@pytest.mark.parametrize("num_images", [20, 100, 1000])
def test_trains_and_draws_without_a_setting(launch, tmp_path, num_images, num_classes, mode):
    data = folder_of(tmp_path / "images", num_images, num_classes, mode)
    run, drawn = tmp_path / "run", tmp_path / "drawn"
    launch(
        "--config=configs/gan.py",
        f"--config.data.dir={data}",
        "--config.train.num_steps=2",
        f"--workdir={run}",
    )
    launch("--mode=generate", f"--workdir={run}", "--num_images=10", f"--output={drawn}")
    files = [file for file in drawn.rglob("*.png") if file.name != "grid.png"]
    assert len(files) == 10
    for file in files:
        with Image.open(file) as image:
            assert (image.size, image.mode) == ((64, 64), mode)
