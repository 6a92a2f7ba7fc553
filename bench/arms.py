"""Times a step of each arm of an ablation, so that all can be given the same time.

    taskset -c 1 python bench/arms.py [--config=ablate_few_images] [--arms=plain,projected]

Prints milliseconds of a step in time of the processor, which other programs do not change. Phantoms
are the data, or those of --data.
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
from ours import Training

from common.data.prepared.prepared import prepare
from studies.ablation.sweep import Place, config_of

_WARM_UP = 2  # steps


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="ablate_few_images")
    parser.add_argument("--arms", default="", help="some of them; all by default")
    parser.add_argument("--data", default="", help="a folder of images")
    parser.add_argument("--steps", type=int, default=5)
    chosen = parser.parse_args()
    module = importlib.import_module(f"configs.{chosen.config}")
    config, sweep = module.get_config().unlock(), module.sweep()
    config.data.dir = chosen.data
    prepared = prepare(config.data)
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, JAX {jax.__version__}")
    for arm in chosen.arms.split(",") if chosen.arms else sweep.arms:
        training = Training(config_of(Place(arm, config.seed, None), sweep, config), prepared)
        training.run(_WARM_UP)
        started = time.process_time()
        training.run(chosen.steps)
        print(f"{arm:32} {1e3 * (time.process_time() - started) / chosen.steps:8.4g}", flush=True)


if __name__ == "__main__":
    main()
