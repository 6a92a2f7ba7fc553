"""The networks: one file per classifier, found by its name, config.model.name = "vgg16".

A file offers the Linen module `Network`, with the fields `num_classes` and `axis_name`, with
`frozen` if it has BatchNorm (stages that never learn: their statistics stay, too), and with the
call that `classify/networks/small_cnn.py` shows; and `STAGES`: how the names of its parameters
begin, stage by stage from the image on, for freezing; what is in none of them is the head. What
stands in config.model.network are its further fields. The call keeps its last "maps" for Grad-CAM,
and the "features" that its head sees, which it also takes in place of images.

A file whose trunk can start from published weights also offers `pretrained(file, sha256)`: the
layers that these have, {"params": ..., "batch_stats": ...}; the file None is that of a package.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from common.data.prepared.prepared import DataCard
from common.program.errors import UserError


def find_network(name: str) -> ModuleType:
    """Returns the file that config.model.name names.

    Raises:
      UserError: there is none.
    """
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise UserError(f"config.model.name is {name!r}; it must be one of {known}.")
    return importlib.import_module(f"{__name__}.{name}")


def make_network(model: ConfigDict, card: DataCard, frozen: int = 0) -> Any:
    """Builds the network that a config describes, for the data's classes.

    Where it starts from published weights, a network that can take its input as these expect it
    does so; only there are statistics of BatchNorm to be kept.

    Args:
      model: the config's section.
      card: what is known of the data.
      frozen: stages that never learn.

    Raises:
      UserError: there is no such file, or a setting that its network does not have.
    """
    settings = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in model.network.items()
    }
    network = find_network(model.name).Network
    fields = network.__dataclass_fields__
    if "imagenet_input" in fields:
        settings.setdefault("imagenet_input", bool(model.weights))
    if "stored_statistics" in settings and not model.weights:
        settings["stored_statistics"] = False
    if "frozen" in fields:
        settings["frozen"] = frozen
    try:
        return network(num_classes=len(card.classes), **settings)
    except TypeError as error:
        raise UserError(f"config.model.network: {error}.") from error
