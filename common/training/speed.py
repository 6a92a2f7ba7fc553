"""How fast a run could be: the operations per second of a matrix product."""

import time

import jax
import jax.numpy as jnp
import numpy as np

_REPEATS = 5


def matrix_rate(dtype: str = "float32") -> float:
    """Returns the floating-point operations per second of a product of two large matrices.

    It is the median of five on one device, after a warm-up.
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
