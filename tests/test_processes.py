"""Several processes train as one: the same numbers, each written once."""

import json
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.checkpoint_leaves import read_leaves
from tests.conftest import ROOT

TWO_STEPS = (
    "--config.train.num_steps=2",
    "--config.train.picture_every=0",
    "--config.train.log_every=1",
    "--config.train.checkpoint_every=1",
    "--config.train.keep_last=9",
)
RUN = ("--config=configs/dense_gan_mnist.py:tiny", *TWO_STEPS)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def train_together(start, *flags, processes=2, devices=2, **environment):
    """Runs one training in several processes; returns exit codes and what each said."""
    coordinator = f"--coordinator=127.0.0.1:{free_port()}"
    started = [
        start(
            "launch.py",
            *flags,
            coordinator,
            f"--num_processes={processes}",
            f"--process_id={number}",
            devices=devices,
            **environment,
        )
        for number in range(processes)
    ]
    said = []
    for process in started:
        try:
            said.append(process.communicate(timeout=300))
        except subprocess.TimeoutExpired:
            for other in started:
                other.kill()
            raise
    return [process.returncode for process in started], said


@pytest.fixture(scope="module")
def together(start, made_once):
    """Two processes of two devices stream two steps from a cache of their own."""

    def train(folder):
        flags = (*RUN, f"--workdir={folder / 'run'}", "--config.data.resident_limit_mb=0")
        codes, said = train_together(start, *flags, TRIPTYCH_CACHE=str(folder / "cache"))
        assert codes == [0, 0], said
        return tuple(text for process in said for text in process)

    folder, said = made_once("together", train)
    return folder / "run", folder / "cache", (said[:2], said[2:])


@pytest.fixture(scope="module")
def alone(launch, made_once):
    """One process of one device, which holds all the data, trains as long."""
    return made_once("alone", lambda folder: (launch(*RUN, f"--workdir={folder}").stdout,))[0]


def test_two_processes_prepare_their_data_once_and_stream_it(together):
    _, cache, (main, other) = together
    assert len(list((cache / "prepared").iterdir())) == 1
    assert main[1].count("preparing digits phantoms") == 1
    assert "preparing" not in other[1]
    assert "streaming digits phantoms" in main[1]


def assert_same_first_step(two, one):
    """What is logged, and the gradients of each network beside its largest one."""
    for name, value in rows(one)[0].items():
        if not name.startswith("timing/"):
            np.testing.assert_allclose(rows(two)[0][name], value, rtol=1e-5, err_msg=name)
    ours, theirs = read_leaves(two, 1), read_leaves(one, 1)
    gradients = [name for name in theirs if "/mu/" in name]  # Adam's, (1 - beta1) times those
    assert gradients and all(theirs[name].any() for name in gradients)
    for network in {name.split("/")[1] for name in gradients}:
        its = [name for name in gradients if name.startswith(f"/{network}/")]
        tolerance = 1e-5 * max(abs(theirs[name]).max() for name in its)
        for name in its:
            np.testing.assert_allclose(ours[name], theirs[name], 0, tolerance, err_msg=name)


def test_two_processes_make_the_first_step_of_one(together, alone):
    assert [row["step"] for row in rows(together[0])] == [row["step"] for row in rows(alone)]
    assert_same_first_step(together[0], alone)
    trained = [row for row in rows(together[0]) if "train/generator_loss" in row]
    shares = [row["timing/data_wait_share"] for row in trained]
    assert len(shares) == 2 and all(0 <= share <= 1 for share in shares)


def train_as_two(under, flags, start, environment, **more):
    """Runs one training in two processes of two devices each."""
    if under == "coordinator":
        codes, said = train_together(start, *flags, **more)
        assert codes == [0, 0], said
    elif not shutil.which("srun"):
        pytest.skip("needs Slurm (srun)")
    else:
        line = ("srun", "--ntasks=2", sys.executable, "launch.py", *flags)
        subprocess.run(line, cwd=ROOT, env=environment(devices=2, **more), check=True)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["acgan_covid", "unet_brain_mri", "small_cnn_chest_xray"])
@pytest.mark.parametrize("under", ["coordinator", "slurm"])
class TestEachTask:
    """Two processes of two devices make the steps of one of four."""

    def test_the_first_step(self, under, task, start, launch, environment, tmp_path):
        run = (f"--config=configs/{task}.py:tiny", *TWO_STEPS, "--config.data.batch_size=8")
        two, one = tmp_path / "two", tmp_path / "one"
        train_as_two(under, (*run, f"--workdir={two}"), start, environment)
        launch(*run, f"--workdir={one}", devices=4)
        record = json.loads((two / "run.json").read_text())
        assert (record["devices"]["count"], record["devices"]["processes"]) == (4, 2)
        assert_same_first_step(two, one)

    def test_five_steps_in_double_precision(
        self, under, task, start, launch, environment, tmp_path
    ):
        run = (
            f"--config=configs/{task}.py:tiny",
            "--config.train.num_steps=5",
            "--config.train.checkpoint_every=5",
            "--config.train.picture_every=0",
            "--config.data.batch_size=8",
        )
        double = {"JAX_ENABLE_X64": "1"}
        two, one = tmp_path / "two", tmp_path / "one"
        train_as_two(under, (*run, f"--workdir={two}"), start, environment, **double)
        launch(*run, f"--workdir={one}", devices=4, **double)
        ours, theirs = read_leaves(two, 5), read_leaves(one, 5)
        assert ours.keys() == theirs.keys()
        learned = [name for name in theirs if "/params/" in name or "/batch_stats/" in name]
        for name in learned:
            assert theirs[name].dtype == np.float64, name
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-8, err_msg=name)
        assert learned


def test_only_the_main_process_writes(together):
    workdir, _, (main, other) = together
    record = json.loads((workdir / "run.json").read_text())
    assert (record["devices"]["count"], record["devices"]["processes"]) == (4, 2)
    assert "finished" in main[0] and "finished" not in other[0]


def test_what_two_processes_saved_one_continues(together, launch):
    on = (f"--workdir={together[0]}", "--config.train.num_steps=3")
    assert "resuming from step 2" in launch(*RUN, *on).stderr


def test_a_mistake_ends_every_process(start, tmp_path):
    codes, said = train_together(
        start, *RUN, f"--workdir={tmp_path / 'run'}", "--config.data.dir=no/such/folder"
    )
    assert codes == [2, 2]
    assert "no/such/folder" in said[0][1] and "Process 0 (" in said[1][1]
