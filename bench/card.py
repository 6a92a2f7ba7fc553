"""Times a training step of every config on the devices here, beside what the plan says of it.

    python bench/card.py [--configs=acgan_covid,unet_brain_mri] [--dtype=bfloat16] [--tiny]
                         [--at_once=6] [--output=bench/results/NAME.md]

Each config is a process of its own, so that its peak of memory is its own. Some compile side by
side (--at_once), but only one trains at a time. Phantoms are the data, the batch is the config's.

Memory is what `--mode=plan --topology=here` says that the program needs of a device, and the most
that the device's allocator gave out, where it counts. The least time is the plan's: arithmetic by
the chip's published figures, where it is a chip that common/devices/chips.py has.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from frame import end, machine, positive, say

_ROOT = Path(__file__).parents[1]
_WARM_UP, _ROUNDS = 3, 5
_SECONDS = 2.0  # of all rounds together
_HEAD = (
    *("config", "batch", "ms a step", "images/s", "least ms", "GiB planned", "GiB used"),
    *("used / planned", "compiled in, s"),
)


def main() -> None:
    """Prints a row for each config as soon as it is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--configs", default="", help="some of them; all by default")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--tiny", action="store_true", help="a trial of this program in seconds")
    parser.add_argument("--at_once", type=positive, default=1, help="so many compile side by side")
    parser.add_argument("--output", default="", help="a file for the table")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.one:
        _work(flags.one, flags.dtype, "tiny" if flags.tiny else "")
        return
    names = flags.configs.split(",") if flags.configs else training_configs()
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    print(*lines, sep="\n", flush=True)
    software = ""
    for name, found in _measured(names, flags):
        software = found.get("software", software)
        lines.append(_line(_cells(name, found)))
        print(lines[-1], flush=True)
        if flags.output:  # at once, in case that time runs out
            head = [f"# Steps of all configs, {flags.dtype}", ""]
            tail = ["", f"{machine()}; {software}"]
            Path(flags.output).write_text("\n".join([*head, *lines, *tail]) + "\n")
    if not software:
        end("no config could be measured.", 1)


def training_configs() -> list[str]:
    """Returns the configs of one run: others are studies of many."""
    sys.path.insert(0, str(_ROOT))
    names = sorted(file.stem for file in (_ROOT / "configs").glob("[!_]*.py"))
    made = {name: importlib.import_module(f"configs.{name}") for name in names}
    return [
        name
        for name, module in made.items()
        if not hasattr(module, "sweep") and "model" in module.get_config()
    ]


def _measured(names: list[str], flags: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields what each config's process found, in the order of the names."""
    waiting = deque(names)
    started: deque[tuple[str, subprocess.Popen[str]]] = deque()
    while waiting or started:
        while waiting and len(started) < flags.at_once:
            started.append((waiting[0], _start(waiting.popleft(), flags)))
        name, process = started.popleft()
        ready = _answer(process.stdout)
        _let_go(process.stdin)
        yield name, _answer(process.stdout) if ready else {}
        process.wait()


def _start(name: str, flags: argparse.Namespace) -> "subprocess.Popen[str]":
    own = [f"--one={name}", f"--dtype={flags.dtype}", *(["--tiny"] if flags.tiny else [])]
    return subprocess.Popen(
        [sys.executable, __file__, *own],
        # What others hold must not count, and each takes no more than it needs.
        env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _let_go(to: IO[str] | None) -> None:
    """Lets a process train that has compiled."""
    assert to is not None
    try:
        to.write("go\n")
        to.flush()
    except BrokenPipeError:  # it failed, and said why
        return


def _answer(of: IO[str] | None) -> dict[str, Any]:
    """Returns a line of a process as JSON; {} if it ended without one."""
    assert of is not None
    line = of.readline()
    answer: dict[str, Any] = json.loads(line) if line else {}
    return answer


def _work(name: str, dtype: str, arg: str) -> None:
    """Compiles, says so, waits for a line, and answers with what it measured."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries' output is no answer
    sys.path.insert(0, str(_ROOT))
    import jax
    from ours import Training, software

    from common.data.prepared.prepared import prepare
    from common.devices.hardware import HERE, find_hardware
    from studies.plan.compile import TRAINING, compile_programs

    config = importlib.import_module(f"configs.{name}").get_config(arg).unlock()
    config.train.update(eval_every="0", best_metric="", picture_every="0", dtype=dtype)
    prepared = prepare(config.data)
    hardware = find_hardware(HERE)
    batch = max(1, config.data.batch_size // len(hardware.devices))
    (plan,) = compile_programs(config, prepared.card, hardware, batch, (TRAINING,))
    began = time.perf_counter()
    training = Training(config, prepared)
    compiled_in = time.perf_counter() - began
    print(json.dumps({"ready": True}), file=answers, flush=True)
    sys.stdin.readline()
    training.run(_WARM_UP)
    began = time.perf_counter()
    training.run(1)
    steps = max(1, round(_SECONDS / _ROUNDS / (time.perf_counter() - began)))
    seconds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        training.run(steps)
        seconds.append((time.perf_counter() - began) / steps)
    stats = jax.local_devices()[0].memory_stats() or {}
    found = {
        "software": software(),
        "batch": config.data.batch_size,
        "seconds": statistics.median(seconds),
        "least": _least_seconds(plan, dtype),
        "planned": plan.memory,
        "used": stats.get("peak_bytes_in_use", 0),
        "compiled": compiled_in,
    }
    print(json.dumps(found), file=answers, flush=True)


def _least_seconds(plan: Any, dtype: str) -> float:
    """Returns the plan's least time of a step; 0 for devices whose figures are not known."""
    import jax

    from common.devices.chips import CHIPS
    from studies.plan.estimate import bound_of

    kind = jax.local_devices()[0].device_kind.lower()
    known = [chip for chip in CHIPS if chip in kind]
    return bound_of(plan, CHIPS[known[0]], dtype, plan.chips).seconds if known else 0.0


def _cells(name: str, found: dict[str, Any]) -> list[str]:
    if not found:
        say(f"{name} failed; its output says why")
        return [name, *["failed"], *[""] * (len(_HEAD) - 2)]
    gib, used, least = 2**30, found["used"], found["least"]
    return [
        name,
        f"{found['batch']:,}",
        f"{1e3 * found['seconds']:.4g}",
        f"{found['batch'] / found['seconds']:.4g}",
        f"{1e3 * least:.3g}" if least else "",
        f"{found['planned'] / gib:.3f}",
        f"{used / gib:.3f}" if used else "",
        f"{used / found['planned']:.2f}" if used else "",
        f"{found['compiled']:.1f}",
    ]


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
