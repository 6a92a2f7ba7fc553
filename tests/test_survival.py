"""One of two processes is killed, stopped or signalled: what the other says, and how both go on."""

import re
import signal
import time

import numpy as np
import pytest

from tests.checkpoint_leaves import assert_same_leaves, read_leaves
from tests.test_processes import free_port

STEPS = 60  # more than two processes make in the two seconds before one is killed
RUN = (
    "--config=configs/toy_gan_1d.py:tiny",
    "--config.data.batch_size=64",
    f"--config.train.num_steps={STEPS}",
    "--config.train.checkpoint_every=2",
    "--config.train.picture_every=0",
    "--config.train.eval_every=0",
    "--config.train.log_every=1",
)


@pytest.fixture
def begin(start):
    """Returns a function that starts both processes; what is left of them is killed at the end."""
    started = []

    def both(workdir):
        coordinator = f"--coordinator=127.0.0.1:{free_port()}"
        for number in range(2):
            flags = (coordinator, "--num_processes=2", f"--process_id={number}")
            started.append(start("launch.py", *RUN, f"--workdir={workdir}", *flags, devices=2))
        return started[-2:]

    yield both
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def uninterrupted(start, made_once):
    def train(folder):
        coordinator = f"--coordinator=127.0.0.1:{free_port()}"
        flags = (*RUN, f"--workdir={folder}", coordinator, "--num_processes=2")
        pair = [start("launch.py", *flags, f"--process_id={i}", devices=2) for i in range(2)]
        said = [process.communicate(timeout=600) for process in pair]
        assert [process.returncode for process in pair] == [0, 0], said
        return (said[0][0],)

    return made_once("two undisturbed", train)[0]


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def one_sentence(process, seconds):
    """Waits for a process to end with one sentence; returns its code and the sentence."""
    _, said = process.communicate(timeout=seconds)
    sentences = re.findall(r"^launch\.py: (.*)$", said, re.MULTILINE)
    assert len(sentences) == 1 and "stack trace" not in said and "Traceback" not in said, said
    return process.returncode, sentences[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_whichever_is_killed_both_resume_to_the_same_state(begin, uninterrupted, tmp_path, seed):
    rng, workdir = np.random.default_rng(seed), tmp_path / "run"
    victim = int(rng.integers(2))
    pair = begin(workdir)
    if rng.random() < 0.75:
        wait_for(workdir / "checkpoints" / str(2 * rng.integers(1, 4)), pair[0])
    time.sleep(rng.uniform(0, 2))
    pair[victim].kill()
    code, said = one_sentence(pair[1 - victim], 120)  # of which some are its start
    print(f"seed {seed}: {said}")
    # The second sentence is about one that was killed before it came to the other.
    assert code == 2 and (f"rocess {victim} " in said or f"within 50 seconds: {victim};" in said)
    pair = begin(workdir)
    assert [process.wait(timeout=600) for process in pair] == [0, 0]
    assert_same_leaves(read_leaves(workdir, STEPS), read_leaves(uninterrupted, STEPS))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_one_that_is_stopped_is_named_within_a_minute(begin, tmp_path, seed):
    rng, workdir = np.random.default_rng(seed), tmp_path / "run"
    victim = int(rng.integers(2))
    pair = begin(workdir)
    wait_for(workdir / "checkpoints" / "2", pair[0])
    time.sleep(rng.uniform(0, 1))
    pair[victim].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    code, said = one_sentence(pair[1 - victim], 60)
    print(f"seed {seed}: after {time.monotonic() - began:.0f} seconds: {said}")
    assert code == 2 and said.startswith(f"Process {victim} ")
    pair[victim].send_signal(signal.SIGCONT)
    code, said = one_sentence(pair[victim], 60)
    assert code == 2 and said.startswith("Process ")


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [0, 1])
def test_a_signal_to_one_stops_both_and_each_says_how_to_go_on(begin, tmp_path, signalled):
    workdir = tmp_path / "run"
    pair = begin(workdir)
    wait_for(workdir / "checkpoints" / "2", pair[0])
    pair[signalled].send_signal(signal.SIGTERM)
    for process in pair:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "SIGTERM: saved step" in out and "Run the same command again to resume" in out


@pytest.mark.slow
def test_a_wrong_coordinator_is_a_sentence(launch, tmp_path):
    flags = ("--coordinator=nowhere.invalid:1", "--num_processes=2", "--process_id=1")
    said = launch(*RUN, f"--workdir={tmp_path / 'run'}", *flags, code=2).stderr
    assert "Process 0 was not found at --coordinator=nowhere.invalid:1 within 25 seconds" in said
