"""The arrays of a state by their paths, "generator/params/dense/kernel"."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Returns the arrays of a tree by their paths."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def not_finite(tree: Any) -> str:
    """Returns the path of the first array of a host tree that is not finite, or ""."""
    arrays = ((path, leaf) for path, leaf in leaves_by_path(tree).items() if has_fractions(leaf))
    return next((path for path, leaf in arrays if not np.isfinite(leaf).all()), "")


def has_fractions(leaf: Any) -> bool:
    """Returns whether an array holds floating-point numbers."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))
