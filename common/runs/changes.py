"""What may change when a run goes on, and what has."""

from collections.abc import Mapping
from typing import Any

from common.program.rules import read_duration
from common.program.settings import Fields, flatten

_ABSENT = "absent"

# A run may go on with other values of these; any other difference makes it another experiment.
CONTINUABLE = frozenset(
    {
        "data.cache_dir",
        "data.dir",  # the content is compared instead, by its fingerprint
        "data.url",
        "data.copies",  # which images are where shows in the fingerprint
        "data.sha256",
        "data.resident_limit_mb",
        "quality.extractor",
        "quality.num_images",
        "quality.k",
        "quality.on_collapse",
        "classifier.train.low_memory",  # of a study
        "gan.train.low_memory",
        "study.arms",  # of a study, none of whose runs depends on what else is in these lists
        "study.seeds",
        "study.sizes",
        "train.best_is",
        "train.best_metric",
        "train.checkpoint_every",
        "train.checkpoint_minutes",
        "train.eval_every",
        "train.keep_last",
        "train.log_every",
        "train.low_memory",  # as on another machine, other results are in the last digits
        "train.num_steps",
        "train.picture_grid",
        "train.picture_every",
    }
)


def differences(old: Fields, new: Fields) -> dict[str, tuple[Any, Any]]:
    """Returns {"data.batch_size": (32, 64)} of each field that makes another experiment.

    A field that one of them does not have is "absent" there. A decay that lasts to the end of
    training ends elsewhere where that does: an end that is moved has changed the rates before it.
    """
    before, after = map(_meant, (old, new))
    return {
        name: (before.get(name, _ABSENT), after.get(name, _ABSENT))
        for name in sorted((before.keys() | after.keys()) - CONTINUABLE)
        if before.get(name, _ABSENT) != after.get(name, _ABSENT)
    }


def told(different: Mapping[str, tuple[Any, Any]]) -> str:
    """Returns "data.batch_size (32 there, 64 now), ..." of what `differences` found."""
    return ", ".join(f"{name} ({a!r} there, {b!r} now)" for name, (a, b) in different.items())


def _meant(config: Fields) -> dict[str, Any]:
    """Returns every setting as it comes back from JSON; a decay's end "0" is that of training."""
    fields = {name: _as_read(value) for name, value in flatten(config)}
    for name, value in fields.items():
        above, optimizer, _ = name.partition("optimizer.")
        decays = optimizer and fields.get(name.removesuffix("_end"), "none") != "none"
        if decays and name.endswith(".decay_end") and read_duration(str(value)) == (0, "steps"):
            fields[name] = fields[f"{above}train.num_steps"]
    return fields


def _as_read(value: Any) -> Any:
    """Returns a setting as it comes back from JSON, which has no tuples."""
    return list(value) if isinstance(value, tuple) else value
