"""Images of any size -> the probability of every class at every pixel, in batches on the devices.

An image of the training images' size is seen whole. A larger one is cut into windows of that size
that overlap by half; each has most weight in its middle and none at its border, so that no seams
show. A smaller one is padded with its mirror image.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, UInt8

from common.data.prepared.prepared import DataCard
from common.data.records import Pixels
from common.devices import apply
from common.learning.network import Variables
from common.networks.views import flips_of
from common.program.errors import UserError
from common.runs.evaluation import average_of
from common.runs.workdir import Run
from unet.config import UNetSettings
from unet.inputs import input_scale
from unet.losses import log_probabilities
from unet.state import Segmenter, init_state, make_segmenter

BATCH = 16
Probabilities = Float[np.ndarray, "_height _width _classes"]
Owner: TypeAlias = tuple["_Image", int, int]  # of a window: its image, row and column
Started: TypeAlias = tuple[
    list[Array], int
]  # of each network a batch on the devices; windows in it


class Windows:
    """Segments windows of one size, a batch at a time, spread over this process's devices."""

    def __init__(
        self,
        networks: Sequence[tuple[Segmenter, Variables]],
        card: DataCard,
        batch: int = BATCH,
        average: str = "",
    ):
        """Takes the networks and the views of each window over which probabilities are averaged."""
        (first, _), *_ = networks
        self.size, self.channels, self.input = card.image_size, card.channels, first.input
        self.num_classes = len(first.classes)
        self.batch = apply.shared_batch(batch)
        self._runs = [
            apply.spread(partial(probabilities_of, segmenter, average=average), variables)
            for segmenter, variables in networks
        ]

    def start(
        self,
        windows: UInt8[np.ndarray, "num height width channels"],
        shift: Num[np.ndarray, "num 1 1 channels"],
        scale: Num[np.ndarray, "num 1 1 channels"],
    ) -> Started:
        """Starts at most a batch of windows; `finish` waits for the result."""
        filled = [apply.filled(rows, self.batch) for rows in (windows, shift, scale)]
        return [run(*filled) for run in self._runs], len(windows)

    @staticmethod
    def finish(started: Started) -> Float[np.ndarray, "num height width classes"]:
        """Returns the probabilities of the windows that `start` began."""
        results, count = started
        found = [apply.without_devices(result)[:count] for result in results]
        return found[0] if len(found) == 1 else np.mean(found, axis=0)


@dataclass
class _Image:
    """An image that is being segmented.

    Attributes:
      height, width: of the image itself, without padding.
      total: the weighted sum of its windows' probabilities.
      weight: the sum of their weights.
      missing: how many windows are not yet done.
    """

    height: int
    width: int
    total: Float[np.ndarray, "_height _width _classes"]
    weight: Float[np.ndarray, "_height _width 1"]
    missing: int = 0

    def probabilities(self) -> Probabilities:
        """Returns the result."""
        mean: Probabilities = self.total / self.weight
        return mean[: self.height, : self.width]


@dataclass
class _Queue:
    """Windows that wait for a full batch, and images that wait for their windows."""

    windows: list[Any] = field(default_factory=list)
    owners: list[Any] = field(default_factory=list)  # (image, row, column) of each
    images: list[_Image] = field(default_factory=list)


def probabilities_of(
    segmenter: Segmenter,
    variables: Variables,
    windows: UInt8[Array, "batch height width channels"],
    shift: Num[Array, "batch 1 1 channels"],
    scale: Num[Array, "batch 1 1 channels"],
    average: str = "",
) -> Float[Array, "batch height width classes"]:
    """Returns the probability of every class at every pixel of windows, the mean over views."""
    images = (windows - shift) / scale

    def seen(axes: tuple[int, ...]) -> Float[Array, "batch height width classes"]:
        logits: Any = segmenter.network.apply(variables, jnp.flip(images, axes), train=False)
        return jnp.flip(jnp.exp(log_probabilities(logits)), axes)

    each = [seen(axes) for axes in flips_of(average)]
    return sum(each[1:], start=each[0]) / len(each)


def segment(images: Iterable[Pixels], windows: Windows) -> Iterator[Probabilities]:
    """Yields the class probabilities of each image, in order.

    The next images are cut and a batch of windows is prepared while the devices work on the last
    one.

    Args:
      images: of any size, with the channels that the network takes.
      windows: segments batches of windows.
    """
    queue, running = _Queue(), None
    weight = _window_weight(windows.size)
    for image in images:
        _cut(image, windows, queue)
        while len(queue.windows) >= windows.batch:
            following = _start(queue, windows)
            _add(running, weight)
            running = following
            yield from _finished(queue)
    while queue.windows:
        following = _start(queue, windows)
        _add(running, weight)
        running = following
    _add(running, weight)
    yield from _finished(queue)


def _cut(image: Pixels, windows: Windows, queue: _Queue) -> None:
    """Puts an image's windows into the queue."""
    shift, scale = input_scale(image[None], windows.input)
    height, width, _ = image.shape
    below, right = max(0, windows.size - height), max(0, windows.size - width)
    if below or right:
        image = np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric")
    shape = image.shape[:2]
    entry = _Image(
        height,
        width,
        np.zeros((*shape, windows.num_classes), np.float32),
        np.zeros((*shape, 1), np.float32),
    )
    queue.images.append(entry)
    for row in _starts(shape[0], windows.size):
        for column in _starts(shape[1], windows.size):
            cut = image[row : row + windows.size, column : column + windows.size]
            queue.windows.append((cut, shift[0], scale[0]))
            queue.owners.append((entry, row, column))
            entry.missing += 1


def _starts(length: int, size: int) -> list[int]:
    """Returns where windows begin: evenly spread, overlapping by half or more."""
    count = 1 + -(-2 * (length - size) // size)
    return [round(start) for start in np.linspace(0, length - size, count).tolist()]


def _window_weight(size: int) -> Float[np.ndarray, "size size 1"]:
    """Returns the weights of a window's pixels: a raised cosine along each side, never quite 0."""
    side = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    return np.outer(side, side)[..., None].astype(np.float32)


def _start(queue: _Queue, windows: Windows) -> tuple[Started, list[Owner]]:
    """Starts the first batch of the queue; returns it and its owners."""
    taken, queue.windows = queue.windows[: windows.batch], queue.windows[windows.batch :]
    owners, queue.owners = queue.owners[: windows.batch], queue.owners[windows.batch :]
    return windows.start(*map(np.stack, zip(*taken, strict=True))), owners


def _add(
    running: tuple[Started, list[Owner]] | None, weight: Float[np.ndarray, "size size 1"]
) -> None:
    """Waits for a batch and adds its probabilities to their images."""
    if running is None:
        return
    started, owners = running
    size = len(weight)
    for found, (image, row, column) in zip(Windows.finish(started), owners, strict=True):
        place = slice(row, row + size), slice(column, column + size)
        image.total[place] += weight * found
        image.weight[place] += weight
        image.missing -= 1


def _finished(queue: _Queue) -> Iterator[Probabilities]:
    """Yields the images at the head of the queue that are complete."""
    while queue.images and not queue.images[0].missing:
        yield queue.images.pop(0).probabilities()


def load_windows(run: Run, average: str | None = None) -> tuple[Windows, int]:
    """Returns the run's best checkpoint, or its newest, ready to use, and its step.

    Of an ensemble, the mean of its members, and the largest of their steps.

    Args:
      run: the run.
      average: the views to average over; None for those of the run's evaluation.

    Raises:
      UserError: see `load_networks`.
    """
    networks, step = load_networks(run)
    views = average_of(run, "") if average is None else average
    return Windows(networks, run.card, average=views), step


def load_networks(run: Run) -> tuple[list[tuple[Segmenter, Variables]], int]:
    """Returns the networks of a run, of an ensemble several, and the largest of their steps.

    Raises:
      UserError: there is no checkpoint, it does not fit the config, or members see images in
        different ways.
    """
    networks, steps = [], []
    for member in run.members:
        segmenter = make_segmenter(UNetSettings.of(member.config), member.card)
        like = jax.eval_shape(partial(init_state, segmenter, member.card), jax.random.key(0))
        step, state = member.best_state(like)
        networks.append((segmenter, state.average))
        steps.append(step)
    if len({segmenter.input for segmenter, _ in networks}) > 1:
        raise UserError(
            f"The members of {run.workdir} differ in config.model.input; make an ensemble of runs"
            " that agree in it."
        )
    return networks, max(steps)
