"""PyTorch's networks in the benchmark are ours, and its loops train them."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import ours  # noqa: E402
import pytorch  # noqa: E402
import rows  # noqa: E402

from common.data.prepared.prepared import prepare  # noqa: E402

SMALLER = {  # where the size of the images is free
    "acgan_64": 16,
    "acgan_best_64": 64,
    "cnn_gan": 32,
    "dense_200": 16,
    "dense_mnist": 28,
    "unet_2": 32,
    "vgg16": 32,
    "dcgan_64": 64,
}


def rival(name, variant, tmp_path):
    row = rows.row_named(name)
    config = rows.settings(row, tmp_path)
    config.data.update(image_size=SMALLER[name.partition(":")[0]], batch_size=8, num_phantoms=16)
    prepared = prepare(config.data)
    examples = prepared.splits["train"].read(range(8))
    weights, inputs, outputs = ours.example(config, prepared)
    classes = len(prepared.card.classes)
    made = pytorch.contender(config, examples, classes, prepared.card.channels, variant)
    made.load(weights)
    return made, inputs, outputs


@pytest.mark.parametrize("variant", ["NCHW", "channels_last"])
@pytest.mark.parametrize("name", SMALLER)
def test_a_network_with_our_weights_gives_our_outputs(name, variant, tmp_path):
    made, inputs, outputs = rival(name, variant, tmp_path)
    found = made.outputs(inputs)
    assert found.keys() == outputs.keys()
    for key, expected in outputs.items():
        assert expected.std() > 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(found[key], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", [*SMALLER, "dense_mnist:bfloat16", "unet_2:bfloat16"])
def test_a_step_changes_every_weight_but_those_of_a_frozen_trunk(name, tmp_path):
    made, _, _ = rival(name, "NCHW", tmp_path)
    named = [pair for n in made._networks.plain.values() for pair in n.named_parameters()]
    before = [parameter.detach().clone() for _, parameter in named]
    made.run(2)
    for old, (path, new) in zip(before, named, strict=True):
        assert (old != new).any() != path.startswith("trunk."), path


def test_the_settings_of_a_row_are_the_configs_but_for_what_it_changes(tmp_path):
    config = rows.settings(rows.row_named("dcgan_64"), tmp_path)
    assert config.data.batch_size == 64
    assert rows.images_per_step(rows.row_named("dcgan_64"), config) == 64
    assert rows.settings(rows.row_named("dcgan_128"), tmp_path).data.batch_size == 128
    assert rows.images_per_step(rows.row_named("generate"), config) == rows.NUM_FILES
