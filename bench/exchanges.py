"""Counts what chips exchange in a training step of each config, and how long that takes of it.

    python bench/exchanges.py [--topology=v5e:2x4] [--batch_norm=device] CONFIG [CONFIG ...]

Nothing is trained: XLA's compiler for the hardware says it (pip install -e '.[plan]'). Each config
is compiled with its own batch, spread over the chips, and with a larger one. Times are lower bounds
by arithmetic, as those of `--mode=plan`, without the latency of exchanges.
"""

import argparse
from importlib import import_module

from common.devices.hardware import prepare_environment

CHIPS_OF_A_POD = 64
HEAD = (
    "| config | images a chip | exchanges of a step | bytes | share of the time of"
    f" {CHIPS_OF_A_POD} chips | images a chip from which it is below 10 % |",
    "|---|---|---|---|---|---|",
)


def main() -> None:
    """Prints a row for each config as soon as its programs are compiled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topology", default="v5e:2x4")
    parser.add_argument("--batch_norm", default="synchronised", help="config.train.batch_norm")
    parser.add_argument("configs", nargs="+", help="files in configs/, without .py")
    args = parser.parse_args()
    prepare_environment(args.topology)
    print(*HEAD, sep="\n", flush=True)
    for name in args.configs:
        print(row(name, args.topology, args.batch_norm), flush=True)


def row(name: str, topology: str, batch_norm: str) -> str:
    """Returns the row of a config."""
    from common.data.prepared.prepared import prepare
    from common.devices.chips import CHIPS
    from common.devices.hardware import find_hardware
    from studies.plan.compile import TRAINING, compile_larger, compile_programs
    from studies.plan.estimate import batch_for_few_exchanges, bound_of

    config = import_module(f"configs.{name}").get_config()
    config.train.batch_norm = batch_norm
    card, hardware = prepare(config.data).card, find_hardware(topology)
    batch = max(1, config.data.batch_size // len(hardware.devices))
    (own,) = compile_programs(config, card, hardware, batch, (TRAINING,))
    larger = compile_larger(config, card, hardware, batch)
    chip, dtype = CHIPS[topology.partition(":")[0]], config.train.dtype
    share = 1 - bound_of(own, chip, dtype, CHIPS_OF_A_POD).efficiency
    few = larger and batch_for_few_exchanges([own, larger], chip, dtype, CHIPS_OF_A_POD)
    exchanged = sum(one.bytes for one in own.exchanges)
    cells = [
        name,
        f"{batch:,}",
        f"{len(own.exchanges)}",
        f"{exchanged:,}",
        f"{share:.0%}",
        f"{few:,}" if few else "unknown",
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
