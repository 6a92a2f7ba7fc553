"""How fast a run is, and how fast it could be: operations a second beside a matrix product's."""

import time

import jax
import jax.numpy as jnp
import numpy as np

_REPEATS = 5


def matrix_rate(dtype: str = "float32") -> float:
    """Returns the floating-point operations a second of a product of two large matrices.

    The median of five on one device, after one that does not count.
    """
    size = 1024 if jax.default_backend() == "cpu" else 8192
    matrix = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.matmul)
    seconds = []
    for _ in range(1 + _REPEATS):
        started = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - started)
    return float(2 * size**3 / np.median(seconds[1:]))
