"""What is compiled: nothing once the first logging interval is over, and no slow convolution."""

import re

import jax
import numpy as np
import pytest

from common.data.prepared.prepared import prepare
from common.devices.axis import AXIS
from common.ops import thresholds
from common.training import writers
from common.training.task import make_task
from common.training.train import train
from configs import (
    acgan_covid,
    cnn_gan_chest_xray,
    dcgan_chest_xray,
    dense_gan_mnist,
    unet_brain_mri,
    vgg16_covid,
)


def test_no_compilation_after_the_first_interval(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    compiled, at_log = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **__: compiled.append(event) if "backend_compile" in event else None
    )
    write = writers.JsonlWriter.write_scalars

    def counting(self, step, scalars):
        at_log.append(len(compiled))
        write(self, step, scalars)

    monkeypatch.setattr(writers.JsonlWriter, "write_scalars", counting)
    monkeypatch.setattr("common.training.record.matrix_rate", lambda _: 1e9)  # after the last step
    config = dense_gan_mnist.get_config("tiny")
    config.train.update(num_steps="12", checkpoint_every="4")
    train(config, tmp_path / "run")
    assert at_log[0] > 0  # the listener listens
    # Evaluation, pictures and checkpoints come after the first interval, and every one again.
    assert len(compiled) == at_log[0]


def step_as_compiled(config, tmp_path):
    """Returns the text of the optimised program of a training step."""
    config.data.cache_dir = str(tmp_path)
    prepared = prepare(config.data)
    task = make_task(config, prepared.card)
    batch = prepared.splits["train"].read(range(config.data.batch_size))
    batch["position"] = np.arange(config.data.batch_size, dtype=np.int32)
    state = jax.eval_shape(task.init, jax.random.key(0))
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), (state, batch))
    step = jax.vmap(lambda s, b: task.train_step(s, b, jax.random.key(1)), axis_name=AXIS)
    return jax.jit(step).lower(*one).compile().as_text()


def computations_of_loops(program):
    """Returns the text of everything that a loop of the program runs, by name."""
    parts = re.split(r"\n(?=(?:ENTRY )?%?[\w.-]+ \([^\n]*\{\n)", program)
    text = {re.match(r"(?:ENTRY )?%?([\w.-]+)", part).group(1): part for part in parts[1:]}
    waiting = re.findall(r" while\(.*?body=%?([\w.-]+)", program)
    found = {}
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = text[name]
            called = r"(?:calls|to_apply|body|condition|true_computation|false_computation)="
            waiting += re.findall(called + r"%?([\w.-]+)", text[name])
    return found


@pytest.mark.parametrize(
    "module",
    [
        acgan_covid,
        pytest.param(cnn_gan_chest_xray, marks=pytest.mark.slow),
        pytest.param(dcgan_chest_xray, marks=pytest.mark.slow),
        pytest.param(unet_brain_mri, marks=pytest.mark.slow),
        pytest.param(vgg16_covid, marks=pytest.mark.slow),
    ],
    ids=lambda module: module.__name__.rpartition(".")[2],
)
def test_no_convolution_is_inside_a_loop_on_a_cpu(module, tmp_path, monkeypatch):
    """There it is up to 60 times slower; the loops of Winograd's form hold products only."""
    monkeypatch.setattr(thresholds, "MANY_CHANNELS", 4)  # so that small networks take it, too
    monkeypatch.setattr(thresholds, "MANY_PIXELS", 1)
    monkeypatch.setattr(thresholds, "MANY_FEATURES", 4)
    monkeypatch.setattr(thresholds, "FILLED", 0)
    monkeypatch.setattr(thresholds, "TILES_IN_CHUNK", 2)  # else one chunk would do, without a loop
    program = step_as_compiled(module.get_config("tiny"), tmp_path)
    loops = computations_of_loops(program)
    assert " convolution(" in program or module is vgg16_covid
    if module in (dcgan_chest_xray, unet_brain_mri, vgg16_covid):
        assert any(" dot(" in part for part in loops.values())
    assert not [name for name, part in loops.items() if " convolution(" in part]
