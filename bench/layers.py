"""Times each layer, forward and with all its gradients, in both forms.

    python bench/layers.py [--only=NAME] [--repeats=9]

Prints one table of medians in milliseconds: the plain `lax` form and the form made of stride-1
convolutions and products, interleaved in one process. "error" is the largest difference between
the two forms in any output or gradient, relative to its largest entry.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from common.ops import (
    Form,
    conv,
    conv_transpose,
    depthwise_conv,
    grouped_conv,
    max_pool_2x2,
    upsample_conv,
)

FORMS: tuple[Form, ...] = ("lax", "products")


class Case(NamedTuple):
    """One layer at one shape: `layer(x, *kernels, form=...)`."""

    name: str
    layer: Callable[..., Array]
    image: tuple[int, int, int, int]
    kernel: tuple[int, int, int, int] | None = None
    options: Mapping[str, object] = MappingProxyType({})


ONE = ((1, 1), (1, 1))
CASES = (
    Case("AC-GAN G upsample 128->128, 16", upsample_conv, (32, 16, 16, 128), (3, 3, 128, 128)),
    Case("AC-GAN G upsample 128->64, 32", upsample_conv, (32, 32, 32, 128), (3, 3, 128, 64)),
    Case("AC-GAN G conv 64->1, 64", conv, (32, 64, 64, 64), (3, 3, 64, 1)),
    Case("AC-GAN D conv/2 1->16, 64", conv, (32, 64, 64, 1), (3, 3, 1, 16), {"stride": 2}),
    Case("AC-GAN D conv/2 16->32, 32", conv, (32, 32, 32, 16), (3, 3, 16, 32), {"stride": 2}),
    Case("AC-GAN D conv/2 32->64, 17", conv, (32, 17, 17, 32), (3, 3, 32, 64), {"stride": 2}),
    Case("AC-GAN D conv 64->128, 9", conv, (32, 9, 9, 64), (3, 3, 64, 128)),
    Case(
        "DCGAN G transpose 100->512, 1",
        conv_transpose,
        (64, 1, 1, 100),
        (4, 4, 100, 512),
        {"stride": 1, "padding": "VALID"},
    ),
    Case("DCGAN G transpose/2 512->256, 4", conv_transpose, (64, 4, 4, 512), (4, 4, 512, 256)),
    Case("DCGAN G transpose/2 256->128, 8", conv_transpose, (64, 8, 8, 256), (4, 4, 256, 128)),
    Case("DCGAN G transpose/2 128->64, 16", conv_transpose, (64, 16, 16, 128), (4, 4, 128, 64)),
    Case("DCGAN G transpose/2 64->3, 32", conv_transpose, (64, 32, 32, 64), (4, 4, 64, 3)),
    Case("CNN GAN G conv 15x15 128->3, 60", conv, (4, 60, 60, 128), (15, 15, 128, 3)),
    Case("CNN GAN G conv 50x50 128->3, 200", conv, (1, 200, 200, 128), (50, 50, 128, 3)),
    *(
        Case(
            f"DCGAN D conv/2 {channels}->{features}, {size}",
            conv,
            (64, size, size, channels),
            (4, 4, channels, features),
            {"stride": 2, "padding": ONE},
        )
        for channels, features, size in ((3, 64, 64), (64, 128, 32), (128, 256, 16), (256, 512, 8))
    ),
    *(
        Case(
            f"U-Net conv {channels}->{features}, {size}, batch {batch}",
            conv,
            (batch, size, size, channels),
            (3, 3, channels, features),
        )
        for batch in (2, 16)
        for channels, features, size in (
            (3, 32, 128),
            (32, 32, 128),
            (64, 64, 64),
            (128, 128, 32),
            (256, 256, 16),
            (512, 512, 8),
        )
    ),
    *(
        Case(
            f"VGG16 conv {features}->{features}, {size}",
            conv,
            (16, size, size, features),
            (3, 3, features, features),
        )
        for features, size in ((64, 224), (128, 112), (256, 56), (512, 28), (512, 14))
    ),
    Case("U-Net up 2x2/2 512->256, 8", conv_transpose, (16, 8, 8, 512), (2, 2, 512, 256)),
    Case("U-Net up 2x2/2 64->32, 64", conv_transpose, (16, 64, 64, 64), (2, 2, 64, 32)),
    Case("conv 2x2/2 32->64, 128", conv, (16, 128, 128, 32), (2, 2, 32, 64), {"stride": 2}),
    Case("U-Net conv 1x1 32->1, 128", conv, (16, 128, 128, 32), (1, 1, 32, 1)),
    Case("critic conv 256->256, 2", conv, (32, 2, 2, 256), (3, 3, 256, 256)),
    Case("U-Net max pool 32, 128", max_pool_2x2, (16, 128, 128, 32)),
    *(
        Case(
            f"conv 1x1 {channels}->{features}, {size}",
            conv,
            (16, size, size, channels),
            (1, 1, channels, features),
        )
        for channels, features, size in ((16, 96, 112), (144, 24, 56), (112, 672, 14))
    ),
    *(
        Case(
            f"depthwise {size}x{size}/{stride} {channels}, {height}",
            depthwise_conv,
            (16, height, height, channels),
            (size, size, 1, channels),
            {"stride": stride},
        )
        for channels, height, size, stride in (
            (96, 112, 3, 2),
            (144, 56, 3, 1),
            (240, 28, 5, 1),
            (480, 14, 5, 1),
            (672, 14, 5, 2),
            (1152, 7, 5, 1),
        )
    ),
    *(
        Case(
            f"grouped 3x3 of 16, {channels}, {height}",
            grouped_conv,
            (32, height, height, channels),
            (3, 3, 16, channels),
        )
        for channels, height in ((32, 64), (64, 32), (128, 16), (256, 8), (256, 4))
    ),
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="time the layers whose name contains this")
    parser.add_argument("--repeats", type=int, default=9)
    chosen = parser.parse_args()
    print(
        f"{'layer':38}"
        + "".join(f"{form + ' ' + what:>16}" for form in FORMS for what in ("fwd", "all"))
        + f"{'error':>10}"
    )
    for case in CASES:
        if chosen.only in case.name:
            measure(case, chosen.repeats)


def measure(case: Case, repeats: int) -> None:
    """Prints one line of the table."""
    numbers = np.random.default_rng(0)

    def draw(shape: tuple[int, ...]) -> Array:
        return jnp.asarray(numbers.normal(size=shape), jnp.float32)

    inputs = (draw(case.image), *([draw(case.kernel)] if case.kernel else []))
    forwards = [_forward(case, form) for form in FORMS]
    cotangent = draw(jax.eval_shape(forwards[0], *inputs).shape)
    everything = [_with_gradients(forward) for forward in forwards]
    results = [every(cotangent, *inputs) for every in everything]
    error = max(
        float(jnp.abs(a - b).max() / jnp.abs(a).max()) for a, b in zip(*results, strict=True)
    )
    calls = [
        call
        for forward, every in zip(forwards, everything, strict=True)
        for call in (partial(forward, *inputs), partial(every, cotangent, *inputs))
    ]
    times = medians(calls, repeats)
    print(
        f"{case.name:38}" + "".join(f"{1e3 * t:16.2f}" for t in times) + f"{error:10.0e}",
        flush=True,
    )


def medians(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Times calls in turn, so that a noisy moment affects all of them; returns seconds."""
    seconds: list[list[float]] = [[] for _ in calls]
    for call in calls:
        jax.block_until_ready(call())
    for _ in range(repeats):
        for call, taken in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call())
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def _forward(case: Case, form: Form) -> Callable[..., Array]:
    return jax.jit(lambda *inputs: case.layer(*inputs, **case.options, form=form))


def _with_gradients(forward: Callable[..., Array]) -> Callable[..., tuple[Array, ...]]:
    def run(cotangent: Array, *inputs: Array) -> tuple[Array, ...]:
        y, pullback = jax.vjp(forward, *inputs)
        return y, *pullback(cotangent)

    return jax.jit(run)


if __name__ == "__main__":
    main()
