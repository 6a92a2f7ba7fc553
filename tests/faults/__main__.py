"""python -m tests.faults [--only=TEXT] [--sample=N] [--seed=S]: the table of docs/reliability.md.

Each case is told on standard error as it ends; the table comes at the end, and exit code 1 where
anything is wrong. It needs gcc and Linux.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

_LIBRARY = "FAULTS_LIBRARY"  # set in the process that has it


def main() -> int:
    """Compiles the library, starts itself anew with it, tries all and prints the table."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--only", default="")
    flags.add_argument("--sample", type=int, default=0)
    flags.add_argument("--seed", type=int, default=0)
    asked = flags.parse_args()
    if _LIBRARY not in os.environ:
        return _started_anew()
    from tests.faults.cases import all_faults
    from tests.faults.harness import Harness

    faults = [
        fault for fault in all_faults() if asked.only in f"{fault.kind}, {fault.mode}: {fault.name}"
    ]
    if asked.sample:
        faults = random.Random(asked.seed).sample(faults, min(asked.sample, len(faults)))
    table = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder), Path(os.environ[_LIBRARY]))
        for fault in faults:
            outcome = harness.run(fault)
            table[fault.kind, fault.mode].append(outcome)
            said = {"exit": outcome.code, "says": outcome.sentence, "wrong": outcome.wrong}
            print(f"{fault.kind}, {fault.mode}: {fault.name}: {json.dumps(said)}", file=sys.stderr)
    print("| kind | mode | tried | right state | sentence | wrong |\n|---|---|---|---|---|---|")
    for (kind, mode), outcomes in table.items():
        counts = (
            len(outcomes),
            sum(not one.wrong for one in outcomes),
            sum(one.code == 2 and not one.wrong for one in outcomes),
            sum(bool(one.wrong) for one in outcomes),
        )
        print(f"| {kind} | {mode} | {' | '.join(map(str, counts))} |")
    return int(any(one.wrong for outcomes in table.values() for one in outcomes))


def _started_anew() -> int:
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder) / "faults.so")
        source = str(Path(__file__).with_name("shim.c"))
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        environment = {**os.environ, "LD_PRELOAD": library, _LIBRARY: library}
        command = [sys.executable, "-m", "tests.faults", *sys.argv[1:]]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
