"""After divergence: back to the last checkpoint, with a lower learning rate and other batches.

That is `config.train.on_divergence="rollback"`. How often a run went back stands in its run.json,
from which it resumes as it was trained; config.json keeps the settings as they were given.
"""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from common.program.errors import DivergenceError
from common.program.log import log
from common.program.settings import flatten
from common.runs.workdir import read_record, update_record

_ROLLBACKS = "rollbacks"  # the field of run.json: where each went back to, and why
_FACTOR = 0.5  # of all learning rates, each time


def rollbacks_of(workdir: Path) -> int:
    """Returns how often a run has gone back."""
    return len(read_record(workdir).get(_ROLLBACKS, ()))


def config_after(config: ConfigDict, rollbacks: int) -> ConfigDict:
    """Returns the settings with which a run trains that has gone back so often."""
    if not rollbacks:
        return config
    lower = ConfigDict(config.to_dict())
    for name, value in flatten(config):
        if name.rpartition(".")[2] == "learning_rate":
            lower.update_from_flattened_dict({name: value * _FACTOR**rollbacks})
    return lower


def seed_after(seed: int, rollbacks: int) -> int:
    """Returns the seed of the batches, and of what is drawn at random, after so many rollbacks."""
    if not rollbacks:
        return seed
    return int(np.random.SeedSequence([seed, rollbacks]).generate_state(1)[0])


def roll_back(config: ConfigDict, workdir: Path, error: DivergenceError) -> None:
    """Records that a run goes back to its last checkpoint, or to its beginning without any.

    Raises:
      DivergenceError: the same, if the run is to stop or has gone back too often.
    """
    if config.train.on_divergence == "stop":
        raise error
    record = read_record(workdir)
    earlier, most = list(record.get(_ROLLBACKS, ())), config.train.rollbacks
    if len(earlier) >= most:
        raise DivergenceError(
            f"{error.what} The run has gone back {most} times (config.train.rollbacks) and is given"
            " up.",
            "Start again in another --workdir, with a lower learning rate.",
        ) from error
    step = record.get("saved_step", 0)
    sentence = (
        f"{error.what} The run goes back to step {step}, with half the learning rates and other"
        f" batches (rollback {len(earlier) + 1} of at most {most})."
    )
    log.warning("%s", sentence)
    update_record(
        workdir,
        {
            _ROLLBACKS: [*earlier, {"step": step, "diverged": error.what}],
            "warnings": [*record.get("warnings", ()), sentence],
        },
    )
