"""Our weights in PyTorch's layouts; its layers have the names of ours."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

Weights = Mapping[str, np.ndarray]  # "network/layer/kernel" -> array

_NAMES = {"scale": "weight", "mean": "running_mean", "var": "running_var"}
# What a network has beside weights: a counter, and the vectors of a power iteration.
_OWN = ("num_batches_tracked", "._u", "._v")


class Flattened(nn.Linear):
    """A dense layer over flattened maps, or one whose output is made into maps.

    Ours are flattened from height, width, maps, PyTorch's from maps, height, width.

    Attributes:
      maps_in: maps of the input; 0 if it is not an image.
      maps_out: maps of the output.
    """

    def __init__(self, before: int, features: int, *, maps_in: int = 0, maps_out: int = 0) -> None:
        super().__init__(before, features)
        self.maps_in, self.maps_out = maps_in, maps_out


def copy_weights(weights: Weights, name: str, network: nn.Module) -> None:
    """Copies the weights of our network of that name to a network.

    Raises:
      RuntimeError: the two do not have the same weights with the same shapes.
    """
    tensors = {}
    for path, array in weights.items():
        of_network, *layers, kind = path.split("/")
        if of_network == name:
            place = ".".join(layers)
            layer = network.get_submodule(place)
            known = "weight" if kind in {"kernel", "embedding"} else _NAMES.get(kind, kind)
            if known == "weight" and parametrize.is_parametrized(layer):
                known = "parametrizations.weight.original"
            turned = _turned(layer, kind, array)
            tensors[f"{place}.{known}"] = torch.from_numpy(np.array(turned, order="C"))
    expected = {key for key in network.state_dict() if not key.endswith(_OWN)}
    if unpaired := tensors.keys() ^ expected:
        raise RuntimeError(f"only one of the two networks has {sorted(unpaired)}")
    network.load_state_dict(tensors, strict=False)
    for layer in network.modules():
        if parametrize.is_parametrized(layer):
            _settle(layer.parametrizations.weight)


def _settle(limited: Any) -> None:
    """Gives spectral norm the singular vectors that our power iteration would end with."""
    left, _, right = torch.linalg.svd(limited.original.detach().flatten(1), full_matrices=False)
    limited[0]._u.copy_(left[:, 0])
    limited[0]._v.copy_(right[0])


def _turned(layer: nn.Module, kind: str, array: np.ndarray) -> np.ndarray:
    """Returns a view, or a copy, with PyTorch's order of axes and of flattened images."""
    if isinstance(layer, nn.ConvTranspose2d) and kind == "kernel":
        return array[::-1, ::-1].transpose(2, 3, 0, 1)
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if isinstance(layer, Flattened):
        if layer.maps_out:
            array = _maps_first(array, layer.maps_out)
        if layer.maps_in and kind == "kernel":
            array = _maps_first(array.T, layer.maps_in).T
    return array.T if isinstance(layer, nn.Linear) and kind == "kernel" else array


def _maps_first(array: np.ndarray, maps: int) -> np.ndarray:
    """Turns the last axis, images flattened from HWC, into images flattened from CHW."""
    return array.reshape(*array.shape[:-1], -1, maps).swapaxes(-1, -2).reshape(array.shape)
