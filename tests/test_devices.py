"""The number of devices changes nothing but the speed.

Each count runs in a process of its own, because XLA fixes its devices when it starts.
"""

import numpy as np
import pytest

from tests.checkpoint_leaves import read_leaves

SIMPLE = "--config=configs/dense_gan_mnist.py:tiny"  # little to compile, and it has BatchNorm
LEARNING_RATE = 1e-6


def first_steps(start, dtype, folder, config="acgan_covid", size=32):
    """Returns what tests/first_steps.py saves on one device and on four."""
    saved = []
    for devices in (1, 4):
        out = folder / f"{devices}.npz"
        process = start("tests/first_steps.py", dtype, out, config, size, devices=devices)
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        saved.append(np.load(out))
    return saved


def kind(arrays, name):
    return [key for key in arrays.files if key.startswith(name)]


@pytest.mark.slow  # tests/test_processes.py compares that of four devices of two processes
def test_first_step_in_float32(start, tmp_path):
    """Batch 32 on one device and 4 x 8, BatchNorm synchronised."""
    one, four = first_steps(start, "float32", tmp_path)
    for name in ("latents", "mask"):
        np.testing.assert_array_equal(one[name], four[name])
    assert 0.2 < (one["mask"] == 0).mean() < 0.3
    for name in kind(one, "metric/"):
        np.testing.assert_allclose(four[name], one[name], rtol=1e-5)
    assert len(kind(one, "gradient/")) == 31
    for name in kind(one, "gradient/"):
        np.testing.assert_allclose(four[name], one[name], atol=1e-5 * abs(one[name]).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "size"),
    [("acgan_covid", 32), ("acgan_covid_best", 64), ("semi_supervised_chest_xray", 16)],
)
def test_five_steps_in_float64(start, tmp_path, config, size):
    one, four = first_steps(start, "float64", tmp_path, config, size)
    for name in (*kind(one, "params/"), *kind(one, "stats/")):
        assert one[name].dtype == np.float64
        np.testing.assert_allclose(four[name], one[name], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "moves",
    [((1, 2), (4, 6)), pytest.param(((1, 2), (4, 4), (2, 6)), marks=pytest.mark.slow)],
    ids=["four", "four, then two"],
)
def test_a_checkpoint_of_one_device_restores_on_other_numbers(moves, launch, tmp_path):
    """The steps are so small that rounding does not grow from one to the next."""
    run = (
        SIMPLE,
        f"--config.optimizer.generator.learning_rate={LEARNING_RATE}",
        f"--config.optimizer.discriminator.learning_rate={LEARNING_RATE}",
        "--config.train.picture_every=0",
        "--config.train.eval_every=0",
        "--config.train.keep_last=9",
    )
    for devices, num_steps in moves:
        said = launch(
            *run,
            f"--workdir={tmp_path / 'moved'}",
            f"--config.train.num_steps={num_steps}",
            devices=devices,
        )
        assert num_steps == 2 or "resuming from step" in said.stderr
    launch(*run, f"--workdir={tmp_path / 'stayed'}")
    moved, stayed = read_leaves(tmp_path / "moved", 6), read_leaves(tmp_path / "stayed", 6)
    early = read_leaves(tmp_path / "moved", 2)
    for name, leaf in stayed.items():
        # Adam makes a full step of a gradient that is zero but for rounding, so single entries may
        # differ by the steps made, but not the leaf as a whole.
        apart = np.abs(moved[name] - leaf).mean()
        travelled = np.abs(leaf - early[name]).mean()
        assert apart <= 0.01 * travelled, name
