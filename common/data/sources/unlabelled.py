"""Images of another folder, to learn from without labels: `config.data.unlabelled_dir`."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from common.data.records import (
    FURTHER,
    SPLITS,
    UNLABELLED,
    Contents,
    Once,
    Record,
    Source,
    fingerprint,
)
from common.data.settings import DataSettings
from common.data.sources.open import open_source
from common.program.errors import UserError

_PREFIX = "unlabelled_dir/"  # of the ids of these images


def with_unlabelled(source: Source, data: DataSettings) -> Source:
    """Returns a source with the images of the folder beside its own, in the split `FURTHER`.

    They have no label, whatever folders they lie in, and nothing has a mask or a target. Those of
    them that may be learned from join training later: see `assign_splits`.

    Raises:
      UserError: the folder can't be used, or the others are phantoms.
    """
    if not data.unlabelled_dir:
        return source
    if source.synthetic:
        raise UserError(
            f"config.data.unlabelled_dir is {data.unlabelled_dir}, but the images that it adds to"
            " are phantoms; name your own with --config.data.dir=DIR, or that folder."
        )
    theirs = replace(data, dir=data.unlabelled_dir, name="", url="", only="", classes="")
    more = open_source(theirs.section)
    return replace(
        source,
        fingerprint=fingerprint(source.fingerprint, "unlabelled", more.fingerprint),
        contents=Once(partial(_contents, source, more)),
    )


def _contents(source: Source, more: Source) -> Contents:
    own, others = source.contents(), more.contents()
    splits = {split: _alone(records) for split, records in own.splits.items()}
    further = [
        replace(record, id=f"{_PREFIX}{record.id}", label=UNLABELLED)
        for split in SPLITS
        for record in _alone(others.splits.get(split, ()))
    ]
    return replace(own, splits={**splits, FURTHER: further}, mask_classes=())


def _alone(records: Sequence[Record]) -> list[Record]:
    """Returns images without their masks and targets, which other images do not have."""
    return [replace(record, read_mask=None, read_target=None) for record in records]
