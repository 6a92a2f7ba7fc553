"""Compiles every experiment for TPUs and GPUs that are not here, a row of a table for each.

    python bench/plans.py FOLDER [--topologies=v5e:2x4,v5e:16x16,h100:8] [--batch_norm=device]
                          [CONFIG ...]

Nothing is trained: XLA's compilers say it (pip install -e '.[plan]'). Each CONFIG, a file of
configs/ without .py and by default all that train, has its own batch, spread over the chips. For
the first of the topologies it is compiled with a larger batch, too. FOLDER keeps what `--mode=plan`
writes, a file for each config and topology; what is there is not compiled again, and the table is
of all that are there.
Times are lower bounds by arithmetic, without the latency of exchanges; for GPUs there are none,
because CUDA's compiler does not say what a program reads and writes.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from card import training_configs

from studies.plan.topologies import names_of, prepare_for

MIB = 2**20
HEAD = (
    "| config | chips | images a chip | compiles in, s | memory of a chip, MiB | fits | exchanges |"
    " bytes | share of 64 chips' time | largest batch of a chip | share below 10 % from |",
    "|---" * 11 + "|",
)


def main() -> None:
    """Compiles what is not yet in the folder, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--topologies", default="v5e:2x4,v5e:16x16,h100:8")
    parser.add_argument("--batch_norm", default="synchronised", help="config.train.batch_norm")
    parser.add_argument("configs", nargs="*")
    args = parser.parse_intermixed_args()  # flags between folder and configs, too
    prepare_for(args.topologies)
    topologies = names_of(args.topologies)
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.configs or training_configs():
        for topology in topologies:
            file = args.folder / f"{topology.replace(':', '_')}.{name}.json"
            if not file.exists():
                plan = plan_for(name, topology, args.batch_norm, larger=topology == topologies[0])
                file.write_text(json.dumps(plan, indent=2) + "\n")
                print(file, file=sys.stderr, flush=True)
    print(*HEAD, sep="\n")
    for file in sorted(args.folder.glob("*.json")):
        print(row(file.stem.rpartition(".")[2], json.loads(file.read_text())))


def plan_for(name: str, topology: str, batch_norm: str, *, larger: bool) -> dict[str, Any]:
    """Returns what `--mode=plan` writes of a config and some hardware."""
    from common.data.prepared.prepared import prepare
    from studies.plan.plan import plan_of

    config = import_module(f"configs.{name}").get_config()
    config.train.batch_norm = batch_norm
    return plan_of(config, prepare(config.data).card, topology, larger=larger)


def row(name: str, plan: Mapping[str, Any]) -> str:
    """Returns the row of a config and some hardware."""
    step, most = plan["programs"][0], plan["largest_batch_per_chip"]
    few = plan["batch_per_chip_for_exchanges_below_a_tenth"]
    memory = sum(step[f"{kind}_bytes"] for kind in ("argument", "temporary", "program"))
    (pod,) = (one for one in plan["scaling"] if one["chips"] == 64)
    cells = [
        name,
        plan["hardware"],
        f"{plan['batch_per_chip']:,}",
        f"{step['compile_seconds']:.0f}",
        f"{memory / MIB:,.0f}",
        "yes" if all(one["fits"] for one in plan["programs"]) else "**no**",
        f"{sum(one['number'] for one in step['exchanges'].values())}",
        f"{sum(one['bytes'] for one in step['exchanges'].values()):,}",
        f"{1 - pod['efficiency']:.0%}" if step["traffic_bytes"] is not None else "",
        f"{most:,}" if plan["larger_batch"] and most else "",
        f"{few:,}" if few else "",
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
