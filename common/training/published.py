"""Starting from published weights: `config.model.weights` of a network that has some."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from jax.tree_util import keystr
from jax.tree_util import tree_leaves_with_path as leaves_with_path

from common.data.sources.download import Settings, remote_file
from common.learning.network import SupervisedState, Variables
from common.program.cache import cache_dir
from common.program.errors import UserError
from common.program.files import user_path

IMAGENET = "imagenet"  # the weights that a package carries

_WEIGHTS = Settings("config.model.weights", "config.model.weights_sha256", "config.model.weights")
_path_of = partial(keystr, simple=True, separator="/")


def with_published(state: SupervisedState, found: Variables, where: str) -> SupervisedState:
    """Returns a new state whose network has these layers in place of its own.

    Args:
      state: at step 0.
      found: {"params": ..., "batch_stats": ...}.
      where: the weights' file, for messages.

    Raises:
      UserError: they are those of another network.
    """
    _check_shapes(found, state.network.variables, where)
    network = replace(
        state.network,
        params={**state.network.params, **found["params"]},
        batch_stats={**state.network.batch_stats, **found["batch_stats"]},
    )
    return replace(state, network=network, average=network.variables)


def weights_file(weights: str, sha256: str, cache: str) -> Path | None:
    """Returns the file of published weights, downloaded if needed; None for those of a package.

    Args:
      weights: `config.model.weights`, a path, a URL or "imagenet".
      sha256: its checksum; "" is not compared.
      cache: `config.data.cache_dir`.

    Raises:
      UserError: it can't be downloaded.
    """
    if weights == IMAGENET:
        return None
    if "://" not in weights:
        return user_path(weights)
    return remote_file(weights, sha256, cache_dir(cache), _WEIGHTS).fetch()


def _check_shapes(found: Variables, expected: Variables, where: str) -> None:
    """Refuses published weights of another network."""
    shapes = {_path_of(keys): leaf.shape for keys, leaf in leaves_with_path(expected)}
    for keys, leaf in leaves_with_path(found):
        path = _path_of(keys)
        if shapes.get(path) != leaf.shape:
            raise UserError(
                f"{where} has {path} of shape {leaf.shape}, but the network of config.model has"
                f" {shapes.get(path, 'none')}; change config.model or the weights."
            )
