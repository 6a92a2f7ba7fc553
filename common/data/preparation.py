"""Making a prepared set: decode on every core, write on one, whole or not at all."""

import contextlib
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Shaped
from ml_collections import ConfigDict

from common.data.fit import fit_image, fit_mask
from common.data.records import Record, Source
from common.data.splits import Table
from common.errors import UserError
from common.log import log

EVERYTHING = "all"  # the one split in the file; which example is whose is decided when it is opened
_TABLE = "examples.json"
_DECODE_AHEAD = 256  # records in flight between the decoding threads and the writer

Arrays = dict[str, Shaped[np.ndarray, "..."]]


class PreparedImages(tfds.core.GeneratorBasedBuilder):
    """Writes a source as a TFDS data set; only `write_prepared` makes one."""

    VERSION = tfds.core.Version("2.0.0")

    def __init__(self, *, source: Source, settings: ConfigDict, **kwargs: Any) -> None:
        self._source, self._settings = source, settings
        self._digest = hashlib.sha256()
        self._rows: list[tuple[str, int, str, str]] = []
        self._skipped = 0
        self._depths: set[tuple[int, tuple[float, float]]] = set()  # (bits, window) of the images
        super().__init__(**kwargs)

    @property
    def table(self) -> Table:
        """Returns what was written, without the pixels."""
        ids, labels, groups, splits = zip(*self._rows, strict=True)
        return Table(ids, labels, groups, splits)

    def _info(self) -> tfds.core.DatasetInfo:
        size, channels = self._settings.image_size, self._settings.channels
        first = self._source.splits["train"][0]
        pixels = tfds.features.Tensor(shape=(size, size, channels), dtype=np.uint8)
        features = {
            "image": pixels,
            "label": tfds.features.ClassLabel(names=list(self._source.classes)),
            "id": tfds.features.Text(),
        }
        if first.read_mask:
            features["mask"] = tfds.features.Tensor(shape=(size, size), dtype=np.uint8)
        if first.read_target:
            features["target"] = pixels
        # Unshuffled: the order of training is ours (common/data/order.py).
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, _: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {EVERYTHING: self._examples()}

    def _generate_examples(self, **_: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        raise AssertionError("the split brings its own generator")

    def _examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for split, records in self._source.splits.items():
            kept = [0] * len(self._source.classes)
            for record, arrays in self._decoded(records):
                group = record.read_group()
                self._digest.update(f"{split} {record.id} {record.label} {group} ".encode())
                for array in arrays.values():
                    self._digest.update(array.tobytes())
                yield len(self._rows), {**arrays, "label": record.label, "id": record.id}
                self._rows.append((record.id, record.label, group, split))
                kept[record.label] += 1
            present = {record.label for record in records}
            if lost := [
                self._source.classes[label] for label in sorted(present) if not kept[label]
            ]:
                raise UserError(
                    f"No image of class {lost[0]} in the {split} split of {self._source.name} can"
                    " be read; put readable images there or remove the class."
                )
        windows = {window for _, window in self._depths}
        # TFDS stores the info after the last split.
        self.info.metadata.update(
            digest=self._digest.hexdigest(),
            skipped=self._skipped,
            classes=list(self._source.classes),
            mask_classes=list(self._source.mask_classes),
            bits=max(bits for bits, _ in self._depths),
            window=list(windows.pop()) if len(windows) == 1 else [],
        )

    def _decoded(self, records: Sequence[Record]) -> Iterator[tuple[Record, Arrays]]:
        """Decodes on every core (Pillow releases the GIL), in order, with bounded memory."""
        waiting = iter(records)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while chunk := list(islice(waiting, _DECODE_AHEAD)):
                for record, arrays in zip(chunk, pool.map(self._decode, chunk), strict=True):
                    if arrays is None:
                        self._skipped += 1
                    else:
                        yield record, arrays

    def _decode(self, record: Record) -> Arrays | None:
        try:
            return self._read(record)
        except UserError as error:
            if self._settings.on_bad_image == "skip":
                log.warning("skipped: %s", error)
                return None
            raise UserError(
                f"{error} To go on without such files: --config.data.on_bad_image=skip"
            ) from error

    def _read(self, record: Record) -> Arrays:
        settings = self._settings
        size, channels, fit = settings.image_size, settings.channels, settings.fit
        image = record.read()
        arrays = {"image": fit_image(image.pixels, size, channels, fit)}
        if record.read_mask:
            mask = record.read_mask()
            if mask.shape != image.pixels.shape[:2]:
                raise UserError(
                    f"The mask of {record.id} has {mask.shape[1]}x{mask.shape[0]} pixels, its image"
                    f" {image.pixels.shape[1]}x{image.pixels.shape[0]}; make them equal."
                )
            arrays["mask"] = fit_mask(mask, size, fit)
        if record.read_target:
            arrays["target"] = fit_image(record.read_target().pixels, size, channels, fit)
        self._depths.add((image.bits, image.window))
        return arrays


def write_prepared(source: Source, data: ConfigDict, folder: Path) -> None:
    """Writes the set beside its final place and renames it there: it is whole or it is not.

    Raises:
      UserError: a file is not usable.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="incomplete-", dir=folder.parent) as scratch:
        builder = PreparedImages(
            source=source, settings=data, data_dir=scratch, file_format="array_record"
        )
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints where it writes
            builder.download_and_prepare()
        written = Path(builder.data_dir)
        (written / _TABLE).write_text(json.dumps(asdict(builder.table)))
        try:
            written.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was first, with the same content
                raise


def read_table(folder: Path) -> Table:
    """Reads the ids, labels, groups and splits of a prepared set."""
    fields = json.loads((folder / _TABLE).read_text())
    return Table(**{name: tuple(values) for name, values in fields.items()})
