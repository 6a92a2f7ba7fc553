"""--mode=plan: compiles an experiment for hardware that is not here, and says what it will need.

Nothing is trained. XLA's compilers for TPUs (libtpu) and for NVIDIA's GPUs run without the chips.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from common.config import defaults as configs
from common.config.tasks import rules_of
from common.data.prepared.prepared import DataCard, prepare
from common.devices.chips import CHIPS, Chip
from common.devices.hardware import Hardware, find_hardware
from common.program.files import write_atomically
from common.program.outputs import Outputs
from common.program.words import counted
from studies.experiment import Experiment
from studies.plan.compile import TRAINING, batch_of_a_chip, compile_larger, compile_programs
from studies.plan.estimate import (
    NUMBERS_OF_CHIPS,
    Compiled,
    batch_for_few_exchanges,
    bound_of,
    largest_batch,
)
from studies.plan.topologies import names_of

_PART_OF_A_POD = 64  # chips
PLAN_JSON, PLAN_PAGE = "plan.json", "plan.md"


def run_plan(
    given: Experiment, topologies: str, batch_per_chip: int, output: str, *, overwrite: bool
) -> None:
    """Compiles, prints the plan, and writes plan.json and plan.md to a folder if one is named.

    Args:
      given: the experiment.
      topologies: the hardware, separated by commas: "v5e:2x4,h100:8".
      batch_per_chip: examples that a chip takes in a step; 0 spreads the config's batch.
      output: the folder; "" for none.
      overwrite: whether an earlier plan there may be replaced.

    Raises:
      UserError: a setting or a name is invalid, a compiler is missing, or the folder can't be used.
    """
    config = given.config
    configs.check(config, rules_of(config.get("task", "")))
    card = prepare(config.data).card
    plans = [plan_of(config, card, name, batch_per_chip) for name in names_of(topologies)]
    page = "\n\n".join(_page(plan) for plan in plans) + "\n"
    print(page)
    if output:
        with Outputs(Path(output), "plan", overwrite=overwrite) as outputs:
            outputs.claim(dict.fromkeys((PLAN_PAGE, PLAN_JSON), ""))
            write_atomically(outputs.draft(PLAN_PAGE), page)
            write_atomically(outputs.draft(PLAN_JSON), json.dumps(plans, indent=2) + "\n")
        print(f"written: {outputs.folder}/{PLAN_PAGE} and {PLAN_JSON}")


def plan_of(
    config: ConfigDict,
    card: DataCard,
    topology: str,
    batch_per_chip: int = 0,
    *,
    larger: bool = True,
) -> dict[str, Any]:
    """Compiles an experiment's programs for some hardware, and returns all numbers of its plan.

    Args:
      config: of the experiment, checked.
      card: of its data.
      topology: the hardware: "v5e:2x4".
      batch_per_chip: examples that a chip takes in a step; 0 spreads the config's batch.
      larger: whether a larger batch is compiled, too, without which nothing is known of other ones.

    Raises:
      UserError: the hardware is unknown, or the batch can't be spread over it.
    """
    # Such a program can be written to a cache, but not read: there is no chip to load it.
    jax.config.update("jax_enable_compilation_cache", False)
    hardware = find_hardware(topology)
    batch = batch_of_a_chip(config, card, len(hardware.devices), batch_per_chip)
    programs = list(compile_programs(config, card, hardware, batch))
    own, chip = _training(programs), CHIPS[hardware.name.partition(":")[0]]
    more = compile_larger(config, card, hardware, own, chip.memory) if larger else None
    return _plan(hardware, chip, programs, more, config.train.dtype)


def _training(programs: Sequence[Compiled]) -> Compiled:
    return next(one for one in programs if one.program == TRAINING)


def _plan(
    hardware: Hardware,
    chip: Chip,
    programs: Sequence[Compiled],
    more: Compiled | None,
    dtype: str,
) -> dict[str, Any]:
    """Returns all numbers of one hardware, as JSON takes them."""
    training = _training(programs)
    pair = [training, more] if more else None
    bounds = {n: bound_of(training, chip, dtype, n) for n in NUMBERS_OF_CHIPS}
    return {
        "hardware": hardware.name,
        "chips": training.chips,
        "batch_per_chip": training.batch,
        "dtype": dtype,
        "chip": asdict(chip),
        "programs": [_numbers(one, chip) for one in programs],
        "larger_batch": more.batch if more else None,
        "largest_batch_per_chip": largest_batch(pair, chip) if pair else training.batch,
        "batch_per_chip_for_exchanges_below_a_tenth": batch_for_few_exchanges(
            pair, chip, dtype, _PART_OF_A_POD
        )
        if pair
        else None,
        "scaling": [
            {
                "chips": n,
                "batch": n * training.batch,
                "least_seconds": bound.seconds,
                "computing_seconds": bound.computing,
                "memory_seconds": None if math.isnan(bound.memory) else bound.memory,
                "exchange_seconds": bound.links,
                "most_images_per_second": n * training.batch / bound.seconds,
                "efficiency": bound.efficiency,
            }
            for n, bound in bounds.items()
        ],
    }


def _numbers(one: Compiled, chip: Chip) -> dict[str, Any]:
    kinds: dict[str, dict[str, int]] = {}
    for exchange in one.exchanges:
        kind = kinds.setdefault(exchange.kind, {"number": 0, "bytes": 0})
        kind["number"] += 1
        kind["bytes"] += exchange.bytes
    return {
        "program": one.program,
        "compile_seconds": round(one.seconds, 1),
        "argument_bytes": one.arguments,
        "temporary_bytes": one.temporaries,
        "program_bytes": one.code,
        "fits": one.memory <= chip.memory,
        "operations": one.operations,
        "operations_counted_by": one.operations_by,
        "traffic_bytes": None if math.isnan(one.traffic) else one.traffic,
        "exchanges": kinds,
    }


def _page(plan: Mapping[str, Any]) -> str:
    chip = plan["chip"]
    programs = [
        "| program | compiles in | arguments | temporaries | program | fits into"
        f" {_size(chip['memory'])} | operations | bytes read and written | exchanges |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_program_line(one) for one in plan["programs"]),
    ]
    scaling = [
        "| chips | batch | computing | memory | exchanges | least time | images/s at most |"
        " efficiency |",
        "|---|---|---|---|---|---|---|---|",
        *(_scaling_line(one) for one in plan["scaling"]),
    ]
    by = plan["programs"][0]["operations_counted_by"]
    return "\n".join(
        [
            f"## {plan['hardware']}: {counted(plan['chips'], 'chip')},"
            f" {counted(plan['batch_per_chip'], 'image')} a chip, {plan['dtype']}",
            "",
            *programs,
            "",
            _batches(plan),
            "",
            *scaling,
            "",
            "Memory is what XLA's compiler says of one chip; operations and bytes are counted by"
            f" {by}. Times are lower bounds by arithmetic, the same batch on each chip:"
            f" operations over {_rate(chip, plan['dtype']) / 1e12:.0f} TFLOP/s, bytes over"
            f" {chip['bandwidth'] / 1e9:.0f} GB/s, the longer of both; plus what a chip sends in"
            f" exchanges along a ring over {chip['links'] / 1e9:.0f} GB/s, without their latency."
            f" Figures of the chip: {chip['source']}.",
        ]
    )


def _batches(plan: Mapping[str, Any]) -> str:
    """Returns a sentence on which batches fit, and one on which are worth it."""
    most, few = (
        plan["largest_batch_per_chip"],
        plan["batch_per_chip_for_exchanges_below_a_tenth"],
    )
    line = f"by a straight line through {plan['batch_per_chip']} and {plan['larger_batch']}"
    if plan["larger_batch"] is None:
        fits = "The compiler found no room for twice this batch."
    elif most is None:
        fits = f"Memory does not grow up to {plan['larger_batch']} images a chip: far more fit."
    else:
        fits = f"The largest batch of a chip that fits is about {most:,} ({line})."
    if few is None:
        return fits
    return (
        f"{fits} From {few:,} images a chip on, exchanges take less than a tenth of the time of"
        f" {_PART_OF_A_POD} chips ({line})."
    )


def _rate(chip: Mapping[str, Any], dtype: str) -> float:
    return float(chip["operations" if dtype == "bfloat16" else "operations_float32"])


def _program_line(one: Mapping[str, Any]) -> str:
    exchanges = "; ".join(
        f"{some['number']} {kind}, {_size(some['bytes'])}"
        for kind, some in one["exchanges"].items()
    )
    traffic = "unknown" if one["traffic_bytes"] is None else _size(one["traffic_bytes"])
    cells = [
        one["program"],
        f"{one['compile_seconds']} s",
        *(_size(one[f"{kind}_bytes"]) for kind in ("argument", "temporary", "program")),
        "yes" if one["fits"] else "**no**",
        f"{one['operations'] / 1e9:.4g} GFLOP",
        traffic,
        exchanges or "none",
    ]
    return "| " + " | ".join(cells) + " |"


def _scaling_line(one: Mapping[str, Any]) -> str:
    memory = one["memory_seconds"]
    cells = [
        f"{one['chips']:,}",
        f"{one['batch']:,}",
        _time(one["computing_seconds"]),
        "unknown" if memory is None else _time(memory),
        _time(one["exchange_seconds"]),
        _time(one["least_seconds"]),
        f"{one['most_images_per_second']:,.0f}",
        f"{one['efficiency']:.0%}",
    ]
    return "| " + " | ".join(cells) + " |"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.3g} {unit}" if count < 1000 else f"{count:,.0f} {unit}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
