"""Reading published weights: arrays by name, and no code.

Opening a pickle can run any program. These unpicklers can make arrays and nothing else, so PyTorch
is not needed and a file from the web is safe.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from common.networks.safetensors_files import read_safetensors
from common.program.errors import UserError
from common.program.files import regular_file, sha256_of

Arrays = dict[str, np.ndarray]
Layers: TypeAlias = dict[str, dict[str, np.ndarray]]
Shape: TypeAlias = Sequence[int]

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_TYPES: Mapping[str, Any] = {
    **{"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2"},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2"},
    **{"CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?"},
}


def read_weights(path: Path, sha256: str = "") -> Arrays:
    """Returns the arrays of a weights file, by names with "/" or "." between their parts.

    Args:
      path: a PyTorch file (.pth, .pt, of either format), a Keras file (.h5), a .safetensors file, a
        .npz, or a pickle of NumPy arrays.
      sha256: the file's checksum; "" is not checked.

    Raises:
      UserError: it can't be read, is another file, or holds something other than arrays.
    """
    try:
        regular_file(path)
        if sha256:
            _check(path, sha256)
        with path.open("rb") as stream:
            head = stream.read(9)
        return _reader(path, head)(path)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}.") from error
    except UserError:
        raise
    except Exception as error:  # what pickle, zipfile and h5py raise for incomplete files
        raise UserError(f"{path} holds no readable weights ({error}).") from error


def torch_layers(
    arrays: Mapping[str, np.ndarray], layers: Sequence[tuple[str, str, str]], where: str
) -> dict[str, Layers]:
    """Returns convolutions with BatchNorm of a PyTorch file as Flax variables.

    Args:
      arrays: from `read_weights`.
      layers: the name here, to which "_conv" and "_norm" are added, and the names that the
        convolution and the BatchNorm have in the file.
      where: the file, for messages.

    Raises:
      UserError: an array is missing.
    """

    def read(name: str, axes: int = 1) -> np.ndarray:
        if name not in arrays or np.ndim(arrays[name]) != axes:
            raise UserError(f"{where} has no {name}; it does not hold the weights of this network.")
        return np.asarray(arrays[name], np.float32)

    params: Layers = {}
    stats: Layers = {}
    for ours, conv, norm in layers:
        params[f"{ours}_conv"] = {"kernel": read(f"{conv}.weight", 4).transpose(2, 3, 1, 0)}
        params[f"{ours}_norm"] = {"scale": read(f"{norm}.weight"), "bias": read(f"{norm}.bias")}
        stats[f"{ours}_norm"] = {
            "mean": read(f"{norm}.running_mean"),
            "var": read(f"{norm}.running_var"),
        }
    return {"params": params, "batch_stats": stats}


def _reader(path: Path, head: bytes) -> Callable[[Path], Arrays]:
    if head.startswith(b"\x89HDF"):
        return _read_keras
    if path.suffix.lower() == ".safetensors" or head[8:] == b"{":
        return read_safetensors
    if zipfile.is_zipfile(path):
        return _read_npz if _is_npz(path) else _read_torch
    return _read_pickle


def _check(path: Path, sha256: str) -> None:
    found = sha256_of(path)
    if found != sha256.lower():
        raise UserError(
            f"{path} has SHA-256 {found} instead of {sha256}: it is incomplete, or another file."
        )


def _is_npz(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _read_npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_keras(path: Path) -> Arrays:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise UserError(
            "Keras files are read with h5py; install it with pip install 'triptych[pretrained]'"
        ) from error
    arrays: Arrays = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name.removesuffix(":0")] = np.array(item)

    with h5py.File(path) as file:
        file.visititems(visit)
    return arrays


class _Storage:
    """Numbers of a PyTorch file: their type and place."""

    def __init__(self, kind: str, key: str) -> None:
        self.kind, self.key = np.dtype(_TORCH_TYPES[kind]), key
        self.numbers: np.ndarray | None = None


class _Tensor:
    """A tensor whose numbers may not have been read yet."""

    def __init__(self, storage: _Storage, offset: int, size: Shape, stride: Shape) -> None:
        self._storage, self._offset = storage, offset
        self._size, self._stride = tuple(size), tuple(stride)

    def array(self) -> np.ndarray:
        """Returns its numbers.

        Raises:
          ValueError: it reaches beyond its storage.
        """
        storage = self._storage
        assert storage.numbers is not None
        last = self._offset + sum(
            (length - 1) * step for length, step in zip(self._size, self._stride, strict=True)
        )
        if min((*self._size, *self._stride, self._offset, 0)) < 0 or (
            0 not in self._size and last >= len(storage.numbers)
        ):
            raise ValueError("a tensor exceeds its storage")
        step = storage.kind.itemsize
        view = np.lib.stride_tricks.as_strided(
            storage.numbers[self._offset :], self._size, [step * stride for stride in self._stride]
        )
        return view.copy()


def _rebuild_tensor(
    storage: _Storage, offset: int, size: Shape, stride: Shape, *_: object
) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


def _rebuild_parameter(data: _Tensor, *_: object) -> _Tensor:
    return data


class _Unpickler(pickle.Unpickler):
    """Makes arrays, tensors and containers; refuses everything else in a pickle."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        """Returns a function or class that a pickle may use."""
        if module == "torch" and name in _TORCH_TYPES:
            return name
        known: dict[tuple[str, str], object] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        }
        for core in ("numpy.core", "numpy._core"):
            reconstruct = np.empty(0).__reduce__()[0]
            known[(f"{core}.multiarray", "_reconstruct")] = reconstruct
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not an array")
        return known[(module, name)]

    def persistent_load(self, pid: Any) -> Any:
        """Returns the storage that a tensor refers to."""
        word, kind, key = pid[:3]
        if word != "storage":
            raise pickle.UnpicklingError(f"it refers to a {word}")
        return self.storages.setdefault(str(key), _Storage(kind, str(key)))


def _read_torch(path: Path) -> Arrays:
    """Reads the format of PyTorch 1.6 and later: a zip of a pickle and numbers."""
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        unpickler = _Unpickler(io.BytesIO(archive.read(pickled)))
        tree = unpickler.load()
        for storage in unpickler.storages.values():
            content = archive.read(f"{folder}data/{storage.key}")
            storage.numbers = np.frombuffer(content, storage.kind)
    return _flat(tree)


def _read_pickle(path: Path) -> Arrays:
    """Reads a pickle of arrays, or PyTorch's older format, which starts as one."""
    with path.open("rb") as stream:
        load = partial(_Unpickler, stream)
        first = load().load()
        if first != _TORCH_MAGIC:
            return _flat(first)
        load().load()  # the version of the protocol
        load().load()  # the sizes of number types on the machine that wrote it
        unpickler = load()
        tree, keys = unpickler.load(), load().load()
        for key in keys:
            storage = unpickler.storages[str(key)]
            count = int(np.frombuffer(stream.read(8), "<i8")[0])
            content = stream.read(count * storage.kind.itemsize)
            storage.numbers = np.frombuffer(content, storage.kind)
    return _flat(tree)


def _flat(tree: Mapping[str, object], prefix: str = "") -> Arrays:
    """Returns the arrays of nested dictionaries, by path."""
    arrays: Arrays = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            arrays |= _flat(value, f"{prefix}{name}/")
        elif isinstance(value, _Tensor):
            arrays[f"{prefix}{name}"] = value.array()
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            arrays[f"{prefix}{name}"] = value
    return arrays
