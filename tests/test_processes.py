"""Several processes train as one: the same numbers, each written once."""

import json
import socket
import subprocess

import numpy as np

RUN = ("--config=configs/acgan_covid.py:tiny", "--config.train.picture_every=0")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def train_together(start, *flags, processes=2, devices=2):
    """Runs one training in several processes; returns exit codes and what each said."""
    coordinator = f"--coordinator=127.0.0.1:{free_port()}"
    started = [
        start(
            "launch.py",
            *RUN,
            *flags,
            coordinator,
            f"--num_processes={processes}",
            f"--process_id={number}",
            devices=devices,
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


def test_two_processes_of_two_devices_log_what_one_process_logs(start, launch, tmp_path):
    codes, said = train_together(start, f"--workdir={tmp_path / 'two'}")
    assert codes == [0, 0], said
    launch(*RUN, f"--workdir={tmp_path / 'one'}", devices=4)
    two, one = rows(tmp_path / "two"), rows(tmp_path / "one")
    assert [row["step"] for row in two] == [row["step"] for row in one]
    for name, value in one[0].items():
        np.testing.assert_allclose(two[0][name], value, rtol=1e-4, err_msg=name)
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert (record["devices"]["count"], record["devices"]["processes"]) == (4, 2)
    assert "finished" in said[0][0] and "finished" not in said[1][0]
    # What two processes saved, one continues.
    on = (f"--workdir={tmp_path / 'two'}", "--config.train.num_steps=8")
    assert "going on from step 6" in launch(*RUN, *on).stderr


def test_a_mistake_ends_every_process(start, tmp_path):
    codes, said = train_together(
        start, f"--workdir={tmp_path / 'run'}", "--config.data.dir=no/such/folder"
    )
    assert codes == [2, 2]
    assert "no/such/folder" in said[0][1] and "Another process" in said[1][1]
