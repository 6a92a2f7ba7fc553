"""Random access to a TFDS set's examples, array_record or TFRecord, without TensorFlow."""

import contextlib
import struct
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow_datasets as tfds

from common.data.files.foreign import printable
from common.program.errors import UserError

Builder: TypeAlias = tfds.core.DatasetBuilder
Fields: TypeAlias = dict[str, Any]  # ints, bytes of texts and of image files, arrays

_TFRECORD_HEADER = struct.Struct("<QI")  # the record's length, and its checksum
_CHECKSUM_SIZE = 4  # after the record; TFDS's images have their own checksums


@contextlib.contextmanager
def explained(what: str, advice: str = "") -> Iterator[None]:
    """Turns whatever TFDS raises into a sentence: `what` (the reason)`advice`.

    Raises:
      UserError: instead of any exception except MemoryError.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        reason = printable(str(error)) or type(error).__name__
        raise UserError(f"{what} ({reason}){advice}.") from error


class Examples:
    """The examples of one split of a set; may be read from several threads."""

    def __init__(self, builder: Builder, split: str) -> None:
        """Opens the files of a split, one of the set's own names.

        Raises:
          UserError: they are missing, damaged or in another format.
        """
        self._folder = Path(builder.data_dir) / split
        self._features = builder.info.features
        self._parser = cache(self._new_parser)
        with explained(f"{self._folder} can't be read", "; prepare the set again"):
            self._read, self._count = _opened(builder, split)
            stated = builder.info.splits[split].num_examples
            if self._count != stated:
                raise ValueError(f"it holds {self._count} examples instead of {stated}")

    def __len__(self) -> int:
        return self._count

    def where(self, row: int) -> Path:
        """Returns a path that names an example in messages; no such file exists."""
        return self._folder / f"{row:06d}"

    def read(self, row: int, names: tuple[str, ...]) -> Fields:
        """Reads these features of an example; images stay as they are in their files.

        Raises:
          UserError: the example is damaged.
        """
        with explained(f"{self.where(row)} is damaged", "; prepare the set again"):
            return self._parser(names)(self._read(row))

    def _new_parser(self, names: tuple[str, ...]) -> Callable[[bytes], Fields]:
        features = tfds.features.FeaturesDict({name: self._features[name] for name in names})
        images = [name for name in names if isinstance(features[name], tfds.features.Image)]
        decoders = {name: tfds.decode.SkipDecoding() for name in images}
        return partial(features.deserialize_example_np, decoders=decoders)


def _opened(builder: Builder, split: str) -> tuple[Callable[[int], bytes], int]:
    formats = tfds.core.FileFormat
    if formats.ARRAY_RECORD in builder.info.available_file_formats():
        source = builder.as_data_source(
            split,
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
            file_format=formats.ARRAY_RECORD,
        )
        return source.__getitem__, len(source)
    if builder.info.file_format is not formats.TFRECORD:
        raise ValueError(
            f"it is stored as {builder.info.file_format}, not array_record or tfrecord"
        )
    places = [
        place for path in builder.info.splits[split].filepaths for place in _places(Path(path))
    ]

    def read(row: int) -> bytes:
        path, begin, length = places[row]
        with path.open("rb") as stream:
            stream.seek(begin)
            return stream.read(length)

    return read, len(places)


def _places(path: Path) -> Iterator[tuple[Path, int, int]]:
    """Yields file, offset and length of each record of a TFRecord file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        while header := stream.read(_TFRECORD_HEADER.size):
            length, _ = _TFRECORD_HEADER.unpack(header)
            begin = stream.tell()
            if begin + length + _CHECKSUM_SIZE > size:
                raise ValueError(f"{path.name} is truncated")
            yield path, begin, length
            stream.seek(length + _CHECKSUM_SIZE, 1)
