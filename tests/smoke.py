"""A look at another Python than the tests': a run of each kind is trained and used, one resumed.

python tests/smoke.py      # with what `pip install -e .` brings
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax

ROOT = Path(__file__).resolve().parent.parent


def launch(*args: str) -> None:
    """Runs launch.py to its end."""
    done = subprocess.run(
        [sys.executable, "launch.py", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"launch.py {' '.join(args)}\n{done.stderr}")


def train(workdir: Path, config: str) -> None:
    """Trains a tiny run; a GAN, the most intricate, in two halves."""
    words = (f"--config=configs/{config}.py:tiny", f"--workdir={workdir}")
    if halves := workdir.name == "gan":
        launch(*words, "--config.train.num_steps=3")
    launch(*words)
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if any(name.startswith("train/") for name in row)]
    assert json.loads((workdir / "run.json").read_text())["step"] == 6
    assert steps == sorted(set(steps)) and steps[-1] == 6, steps
    assert len(list((workdir / "metrics").glob("events.out.tfevents.*"))) >= 1 + halves


def main(folder: Path) -> None:
    """Does all three, two at a time."""
    runs = {"acgan_covid": "gan", "unet_brain_mri": "unet", "vgg16_covid": "classifier"}
    with ThreadPoolExecutor(2) as two:
        list(two.map(train, (folder / name for name in runs.values()), runs))
        images = folder / "images"
        launch(f"--workdir={folder / 'gan'}", "--mode=generate", f"--output={images}")
        assert list(images.glob("*/*.png"))
        for name in ("unet", "classifier"):
            output = folder / f"{name}-of-images"
            launch(
                f"--workdir={folder / name}",
                "--mode=predict",
                f"--input={images}",
                f"--output={output}",
            )
            assert list(output.iterdir())
    print(f"Python {platform.python_version()} with JAX {jax.__version__}: trained, gone on, used")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(TRIPTYCH_CACHE=scratch, JAX_DISABLE_MOST_OPTIMIZATIONS="1")
        main(Path(scratch))
