"""The arrays of a state by their paths, "generator/params/dense/kernel"."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree


def leaves_by_path(tree: PyTree) -> dict[str, PyTree]:
    """Returns the arrays of a tree by their paths."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def not_finite(tree: PyTree) -> str:
    """Returns the path of the first array of a host tree that is not finite, or ""."""
    arrays = ((path, leaf) for path, leaf in leaves_by_path(tree).items() if has_fractions(leaf))
    return next((path for path, leaf in arrays if not np.isfinite(leaf).all()), "")


def has_fractions(leaf: Array | np.ndarray | np.generic | jax.ShapeDtypeStruct) -> bool:
    """Returns whether an array holds floating-point numbers."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))
