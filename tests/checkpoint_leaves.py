"""Reads every leaf of a saved state, for comparing runs bit for bit."""

import numpy as np
import orbax.checkpoint as ocp


def read_leaves(workdir, step):
    """Returns {"generator/params/dense/kernel": array, ...} of one checkpoint."""
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore((workdir / "checkpoints" / str(step) / "default").absolute())
    leaves = {}

    def walk(node, path):
        if isinstance(node, dict):
            for name, inner in node.items():
                walk(inner, f"{path}/{name}")
        else:
            leaves[path] = np.asarray(node)

    walk(tree, "")
    return leaves


def assert_same_leaves(one, other, *more):
    """Every leaf is equal, bit for bit: parameters, average, optimizer states, statistics.

    States of some tasks have more parts than these.
    """
    assert one.keys() == other.keys()
    kinds = {path.split("/")[1] for path in one}
    assert kinds - {"controls"} == {"step", "generator", "discriminator", "average", *more}
    different = [path for path in one if one[path].tobytes() != other[path].tobytes()]
    assert not different
