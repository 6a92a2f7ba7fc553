"""What a projected GAN's step has beside its networks: augmentation and losses of pairs.

See `common/data/transforms.py` and `gan/terms.py`; images are NCHW in [-1, 1].
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_COARSE, _PLACES = 16, 8
_FAINT, _SAME = 0.05, 1e-3


def augmented(images: Tensor, settings: Any) -> Tensor:
    """Moves images by whole pixels, varies contrast and brightness, and makes a square grey."""
    count, _, height, width = images.shape
    draws = torch.rand(6, count, 1, 1, 1, device=images.device)
    signed = 2 * draws[:4] - 1
    mean = images.mean((2, 3), keepdim=True)
    x = _shifted(images, signed[0].flatten(), signed[1].flatten(), settings.translation)
    x = mean + (1 + settings.contrast * signed[2]) * (x - mean)
    x = x + 2 * settings.brightness * signed[3]
    rows = torch.arange(height, device=images.device).view(-1, 1)
    columns = torch.arange(width, device=images.device)
    cut = (rows - (height * draws[4]).floor()).abs() < settings.cutout * height / 2
    cut = cut & ((columns - (width * draws[5]).floor()).abs() < settings.cutout * width / 2)
    return torch.where(cut, 0.0, x)


def _shifted(images: Tensor, down: Tensor, right: Tensor, share: float) -> Tensor:
    """Moves each image by up to a share of its side; black comes in."""
    count, _, height, width = images.shape
    most = round(share * height), round(share * width)
    padded = functional.pad(images, (most[1], most[1], most[0], most[0]), value=-1.0)
    first_row = most[0] - (share * height * down).round().long()
    first_column = most[1] - (share * width * right).round().long()
    rows = first_row[:, None] + torch.arange(height, device=images.device)
    columns = first_column[:, None] + torch.arange(width, device=images.device)
    index = torch.arange(count, device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None]]
    return moved.permute(0, 3, 1, 2)


def diversity(fakes: Tensor, asked: Tensor, real: Tensor, labels: Tensor) -> Tensor:
    """Returns how much more alike generated images of a class are than real ones."""
    apart, real_apart = _differences(fakes), _differences(real)
    usual, known = _mean_of_class(real_apart, labels, asked)
    real_usual, _ = _mean_of_class(real_apart, labels, labels)
    alike, paired = _mean_of_class(_alike(apart, usual), asked, asked)
    real_alike, _ = _mean_of_class(_alike(real_apart, real_usual), labels, asked)
    return torch.where(known & paired, functional.relu(alike - real_alike), 0.0).mean()


def spread(fakes: Tensor, asked: Tensor, real: Tensor, labels: Tensor) -> Tensor:
    """Returns how much less generated images of a class differ in brightness, place by place."""
    own, paired = _mean_of_class(_apart_at_places(fakes), asked, asked)
    usual, known = _mean_of_class(_apart_at_places(real), labels, asked)
    missing = (functional.relu(usual - own) / usual.clamp(min=_SAME)).mean(-1)
    return torch.where(known & paired, missing, 0.0).mean()


def _apart_at_places(images: Tensor) -> Tensor:
    flat = _shrunk(images, _PLACES).flatten(1)
    return (flat[:, None] - flat).abs()


def _alike(apart: Tensor, usual: Tensor) -> Tensor:
    return functional.relu(1 - apart / torch.where(usual > 0, usual, 1.0)[:, None]).square()


def _mean_of_class(values: Tensor, labels: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean of all pairs of each class asked for, and whether it has any."""
    pairs = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool).to(
        labels.device
    )
    chosen = (asked[:, None] == labels).to(values.dtype)
    number = chosen @ pairs.sum(1).to(values.dtype)
    places = [1] * (values.ndim - 2)
    of_pairs = torch.where(pairs.reshape(*pairs.shape, *places), values, 0.0).sum(1)
    return (chosen @ of_pairs) / number.clamp(min=1).reshape(-1, *places), number > 0


def _differences(images: Tensor) -> Tensor:
    coarse = _shrunk(images, _COARSE)
    flat = torch.cat([coarse.diff(dim=axis).flatten(1) for axis in (2, 3)], 1)
    flat = flat * torch.rsqrt(flat.square().mean(1, keepdim=True) + _FAINT**2)
    own = (flat.square().mean(1) + 1e-12).sqrt()
    return own[:, None] * own - (flat @ flat.T).abs() / flat.shape[1]


def _shrunk(images: Tensor, most: int) -> Tensor:
    side = min(most, images.shape[-1])
    smaller = side < images.shape[-1]
    return functional.interpolate(images, size=(side, side), mode="bilinear", antialias=smaller)
