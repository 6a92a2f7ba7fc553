"""What --mode=export writes computes what the run does, in programs that know nothing of it."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

import triptych
from common.export.write import FACTS, ONNX, SCRIPT, STABLEHLO
from common.runs.ensemble import ensemble_of
from tests.test_configs import RUNS
from tests.untrained import untrained

for _package in ("onnx", "onnxruntime"):
    pytest.importorskip(
        _package, reason=f"no {_package}: install it with pip install -e '.[export]'"
    )

_STABLEHLO = """
import sys
import numpy as np
from jax import export
sys.modules["common"] = sys.modules["flax"] = None
with open(sys.argv[1], "rb") as file, np.load(sys.argv[2]) as inputs:
    model = export.deserialize(bytearray(file.read()))
    np.save(sys.argv[3], model.call(*inputs.values()))
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Makes and opens untrained runs, with this process's JAX as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triptych, "_start", lambda: None)

        def make(name, **changes):
            workdir = tmp_path_factory.mktemp("runs") / "run"
            untrained(triptych.load_config(name, **changes), workdir)
            return triptych.open_run(workdir)

        yield make


def run_alone(folder, inputs):
    """Returns what both files compute, in processes that don't have this program."""
    np.savez(folder / "inputs.npz", **inputs)
    given = [folder / "inputs.npz", folder / "output.npy"]
    commands = [
        [sys.executable, "-c", _STABLEHLO, folder / STABLEHLO, *given],
        [sys.executable, folder / SCRIPT, *given],
    ]
    for command in commands:
        subprocess.run(list(map(str, command)), check=True, cwd=folder)
        yield np.load(given[1])


def test_a_classifiers_files_give_its_probabilities_for_batches_of_any_size(opened, tmp_path):
    run = opened("small_cnn_chest_xray:tiny")
    folder = run.export(tmp_path / "out")
    for size in (1, 5):
        images = np.random.default_rng(size).integers(0, 256, (size, 32, 32, 1), np.uint8)
        for found in run_alone(folder, {"images": images}):
            np.testing.assert_allclose(found, run.predict(images), atol=1e-5)
    facts = json.loads((folder / FACTS).read_text())
    assert facts["classes"] == ["NORMAL", "PNEUMONIA"] and facts["temperature"] == 1
    assert facts["inputs"]["images"]["shape"] == ["batch", 32, 32, 1]
    assert (facts["images"]["fit"], facts["images"]["window"]) == ("stretch", [0, 255])
    said = subprocess.run([sys.executable, folder / SCRIPT], capture_output=True, check=True)
    assert json.loads(said.stdout) == facts


def test_a_generators_files_draw_the_images_of_latents_labels_and_noise(opened, tmp_path):
    smallest = {"data": {"image_size": 32}, "model": {"generator": {"width": 4}}}
    run = opened("acgan_covid_best:tiny", **smallest)
    folder = run.export(tmp_path / "out")
    random = np.random.default_rng(0)
    inputs = {
        "latents": random.standard_normal((3, 128), np.float32),
        "labels": np.array([0, 1, 1], np.int32),
        "noise_32": random.standard_normal((3, 32, 32, 1), np.float32),
    }
    by_jax, by_onnx = run_alone(folder, inputs)
    assert by_jax.shape == (3, 32, 32, 1) and np.abs(by_jax).max() <= 1
    np.testing.assert_allclose(by_onnx, by_jax, atol=1e-4)


def test_an_ensembles_files_give_the_mean_of_its_members(opened, tmp_path):
    members = [opened("small_cnn_chest_xray:tiny", seed=seed) for seed in (0, 1)]
    ensemble_of([one.workdir for one in members], tmp_path / "ensemble")
    run = triptych.open_run(tmp_path / "ensemble")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)
    mean = np.mean([one.predict(images) for one in members], axis=0)
    for found in run_alone(run.export(tmp_path / "out"), {"images": images}):
        np.testing.assert_allclose(found, mean, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [pytest.param("unet_brain_mri:tiny", marks=pytest.mark.slow), "pix2pix_brain_mri:tiny"],
)
def test_files_of_images_are_compared_with_the_run_when_they_are_written(opened, tmp_path, name):
    folder = opened(name).export(tmp_path / "out")
    assert {FACTS, ONNX, SCRIPT, STABLEHLO} <= {file.name for file in folder.iterdir()}
    facts = json.loads((folder / FACTS).read_text())
    assert facts["output"]["shape"][1:3] == facts["inputs"]["images"]["shape"][1:3]
    with pytest.raises(triptych.UserError, match="--overwrite"):
        opened(name).export(folder)


def r3gan(config):
    config.model.name = "r3gan"
    config.model.generator = ConfigDict({"latent_size": 64, "width": 8})
    config.model.discriminator = ConfigDict({"width": 8})


def resnet18(config):
    config.model.name, config.model.network = "resnet18", ConfigDict()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [*((name, None) for name in RUNS), ("acgan_covid", r3gan), ("small_cnn_chest_xray", resnet18)],
)
def test_every_network_is_exported(opened, tmp_path, capsys, name, change):
    config = triptych.load_config(f"{name}:tiny").unlock()
    if change:
        change(config)
    untrained(config.lock(), tmp_path / "run")
    triptych.open_run(tmp_path / "run").export(tmp_path / "out")
    found = re.findall(r"by at most (\S+)", "".join(capsys.readouterr()))
    assert len(found) == 2 and all(float(difference) <= 1e-4 for difference in found)
