"""A plan of a compiled program: what it says of the dense GAN, worked out by hand."""

import json
import subprocess
import sys

import jax
import pytest

from common.devices.hardware import find_hardware, missing_package
from common.devices.lowering import lower
from common.program.errors import UserError
from common.training.programs import programs_of
from common.training.task import make_task
from configs import dense_gan_mnist
from studies.plan.compile import batch_of_a_chip, compile_larger, compile_programs
from studies.plan.topologies import prepare_for
from tests.compile_step import card_of
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def plan():
    """Returns the training step of the dense GAN on this machine's devices, and its parts."""
    config = dense_gan_mnist.get_config("tiny")
    card, hardware = card_of(config), find_hardware("here")
    (compiled,) = compile_programs(config, card, hardware, 2, ("train_step",))
    return compiled, config, card, hardware


def test_its_memory_is_what_the_compiler_says(plan):
    compiled, config, card, hardware = plan
    own = config.copy_and_resolve_references().unlock()
    own.data.batch_size = 2 * len(hardware.devices)
    program = programs_of(make_task(own, card), card)["train_step"]
    memory = lower(program, hardware).compile().memory_analysis()
    assert compiled.arguments == memory.argument_size_in_bytes
    made = max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes)
    assert compiled.temporaries == memory.temp_size_in_bytes + made
    assert compiled.code == memory.generated_code_size_in_bytes


@pytest.mark.parametrize(("memory", "times"), [(1e12, 16), (1.0, 2)])
def test_a_much_larger_batch_is_compiled_only_if_it_may_fit(plan, memory, times):
    compiled, config, card, hardware = plan
    assert compile_larger(config, card, hardware, compiled, memory).batch == times * compiled.batch


def test_chips_exchange_gradients_moments_and_metrics(start):
    """Of the dense GAN; two floats for each map of three BatchNorms, forward and backward."""
    config = dense_gan_mnist.get_config("tiny")
    state = jax.eval_shape(make_task(config, card_of(config)).init, jax.random.key(0))
    networks = state.generator, state.discriminator
    gradients = sum(4 * x.size for one in networks for x in jax.tree.leaves(one.params))
    moments = 2 * 2 * 4 * (256 + 512 + 1024)
    file = ROOT / "configs" / "dense_gan_mnist.py"
    process = start("-m", "tests.compile_step", file, "here", "train_step", "tiny", devices=4)
    said, _ = process.communicate()
    found = json.loads(said.splitlines()[-1])
    metrics = found["exchanged_bytes"] - gradients - moments
    assert 0 < metrics < 4 * 4 * 40  # a few numbers of each device
    # One for each BatchNorm forward, one backward, and one for each update's gradients.
    assert found["batch_norms"] == 3
    assert found["all_reduces"] == 2 * 3 + 2 and found["all_gathers"] == 1


@pytest.mark.parametrize(("chips", "named", "batch"), [(8, 0, 4), (256, 0, 2), (8, 6, 6)])
def test_each_chip_has_a_share_of_both_halves(chips, named, batch):
    """The dense GAN's discriminator sees half of a batch: of 32 images, 16 are real."""
    config = dense_gan_mnist.get_config()
    assert config.data.batch_size == 32 and config.optimizer.half_batches
    assert batch_of_a_chip(config, card_of(config), chips, named) == batch


def test_a_batch_whose_halves_are_unequal_is_refused():
    config = dense_gan_mnist.get_config()
    with pytest.raises(UserError, match=r"--batch_per_chip is 3, .* give a multiple of 2"):
        batch_of_a_chip(config, card_of(config), 8, 3)


@pytest.mark.parametrize("topologies", ["", "here", "v5e:2x2,here", "v9:2x2"])
def test_hardware_that_cannot_be_planned_for_is_refused(topologies):
    with pytest.raises(UserError, match=r"needs --topology=NAME|is no hardware"):
        prepare_for(topologies)


@pytest.mark.parametrize("config", ["dense_gan_mnist", "unet_brain_mri"])
def test_a_plan_for_four_chips_is_printed_and_written(config, tmp_path, environment):
    if package := missing_package("v5e:2x2"):
        pytest.skip(f"there is no {package}, which compiles for TPUs; pip installs it")
    flags = [f"--config=configs/{config}.py:tiny", "--topology=v5e:2x2", f"--output={tmp_path}/p"]
    own = {k: v for k, v in environment().items() if not k.startswith(("JAX_", "XLA_"))}
    done = subprocess.run(
        [sys.executable, "launch.py", "--mode=plan", *flags],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (plan,) = json.loads((tmp_path / "p" / "plan.json").read_text())
    names = [one["program"] for one in plan["programs"]]
    assert names[:2] == ["train_step", "eval_step"] and len(names) == 3
    assert all(one["fits"] and one["operations"] > 0 for one in plan["programs"])
    assert plan["programs"][0]["exchanges"]["all-reduce"]["number"] > 0
    assert plan["scaling"][0]["efficiency"] == 1.0 > plan["scaling"][2]["efficiency"]
    assert (tmp_path / "p" / "plan.md").read_text() in done.stdout + "\n"
