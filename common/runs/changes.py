"""Which settings may change when a run resumes, and which have."""

from collections.abc import Mapping

from common.config.tasks import declared_of
from common.program.rules import read_duration
from common.program.settings import Fields, flatten

_ABSENT = "absent"

# Any run may resume with other values of these.
_CONTINUABLE = frozenset(
    {
        "data.cache_dir",
        "data.dir",  # the content is compared instead, by its fingerprint
        "data.unlabelled_dir",  # likewise
        "data.url",
        "data.copies",  # the fingerprint shows which images are in which split
        "data.sha256",
        "data.resident_limit_mb",
        "train.best_is",
        "train.best_metric",
        "train.checkpoint_every",
        "train.checkpoint_minutes",
        "train.eval_every",
        "train.keep_last",
        "train.log_every",
        "train.low_memory",  # results differ in the last digits only, as on another machine
        "train.num_steps",
        "train.on_divergence",
        "train.picture_every",
        "train.rollbacks",
        "train.trackers",
    }
)


def continuable(task: str) -> frozenset[str]:
    """Returns the settings that may change when a run of a task, or a study, goes on.

    Any other difference makes it another experiment.
    """
    declared = declared_of(task)
    return _CONTINUABLE | (declared.continuable if declared else frozenset())


def differences(old: Fields, new: Fields) -> dict[str, tuple[object, object]]:
    """Returns {"data.batch_size": (32, 64)} for each field that makes another experiment.

    A field that is missing on one side is "absent" there. A decay to the end of training counts as
    changed if that end moves: it changes the rates before it.
    """
    before, after = map(_meant, (old, new))
    free = continuable(str(new.get("task", "")))
    return {
        name: (before.get(name, _ABSENT), after.get(name, _ABSENT))
        for name in sorted((before.keys() | after.keys()) - free)
        if before.get(name, _ABSENT) != after.get(name, _ABSENT)
    }


def told(different: Mapping[str, tuple[object, object]]) -> str:
    """Returns "data.batch_size (32 there, 64 now), ..." for what `differences` found."""
    return ", ".join(f"{name} ({a!r} there, {b!r} now)" for name, (a, b) in different.items())


def _meant(config: Fields) -> dict[str, object]:
    """Returns every setting as read from JSON; a decay's end "0" becomes that of training."""
    fields = {name: _as_read(value) for name, value in flatten(config)}
    for name, value in fields.items():
        above, optimizer, _ = name.partition("optimizer.")
        decays = optimizer and fields.get(name.removesuffix("_end"), "none") != "none"
        if decays and name.endswith(".decay_end") and read_duration(str(value)) == (0, "steps"):
            fields[name] = fields[f"{above}train.num_steps"]
    return fields


def _as_read(value: object) -> object:
    """Returns a setting as read from JSON, which has no tuples."""
    return list(value) if isinstance(value, tuple) else value
