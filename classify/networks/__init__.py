"""The networks: one file per classifier, found by its name, config.model.name = "vgg16".

A file defines the Linen module `Network`, which fills the frame below and has the field `frozen` if
it has BatchNorm (stages that never learn: their statistics stay, too); and `STAGES`: how the names
of its parameters begin (one or several ways), stage by stage from the image on, for freezing; all
others are the head's.
config.model.network sets its other fields.

A file whose trunk can start from published weights also defines `pretrained(file, sha256)`, which
returns their layers, {"params": ..., "batch_stats": ...}; the file None is that of a package.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import TypeAlias

import flax.linen as nn
from jaxtyping import Array, Float, Key

from classify.config import NetworkModel
from common.networks.layers import Dense, dropout_after
from common.program.errors import UserError

Images: TypeAlias = Float[Array, "batch height width channels"]
Maps: TypeAlias = Float[Array, "batch rows columns maps"]
Features: TypeAlias = Float[Array, "batch features"]
Logits: TypeAlias = Float[Array, "batch classes"]
Stages: TypeAlias = tuple[str | tuple[str, ...], ...]
DropoutKeys: TypeAlias = Key[Array, " batch"] | None


class Classifier(nn.Module):
    """The frame of a classifier: a trunk that makes maps of an image, and a head.

    A network fills in `make_maps`, may replace `pool` and `head`, and adds the fields that it
    needs. The call keeps the "maps" for Grad-CAM, and the "features" that the head sees.

    Attributes:
      num_classes: the number of logits; with 0 there is no head, and the call returns the features.
      dropout_rate: before the last layer.
    """

    num_classes: int
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(
        self,
        images: Images,
        *,
        train: bool,
        dropout_keys: DropoutKeys = None,
        features: Features | None = None,
    ) -> Logits:
        """Maps images in [0, 1] to logits, or to features without a head.

        Args:
          images: grey or RGB.
          train: whether it learns: BatchNorm uses the statistics of this batch.
          dropout_keys: one per example.
          features: the head's input, in place of the trunk's output for the images.
        """
        if features is None:
            maps = self.perturb("maps", self.make_maps(images, train))
            self.sow("intermediates", "maps", maps)
            features = self.pool(maps)
        self.sow("intermediates", "features", features)
        if not self.num_classes:
            return features
        return self.head(features, dropout_keys if train else None)

    def make_maps(self, images: Images, train: bool) -> Maps:
        """Maps images in [0, 1] to the last maps."""
        raise NotImplementedError

    def pool(self, maps: Maps) -> Features:
        """Maps the last maps to the head's input: their means."""
        return maps.mean((1, 2))

    def head(self, features: Features, dropout_keys: DropoutKeys) -> Logits:
        """Maps the trunk's features to logits."""
        x = dropout_after(features, dropout_keys, 0, self.dropout_rate)
        logits: Array = Dense(self.num_classes, nn.initializers.lecun_normal(), name="classes")(x)
        return logits


def find_network(name: str) -> ModuleType:
    """Returns the file that config.model.name names.

    Raises:
      UserError: there is no such file.
    """
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise UserError(f"config.model.name is {name!r}; it must be one of {known}.")
    return importlib.import_module(f"{__name__}.{name}")


def stage_of(path: str, stages: Stages) -> int:
    """Returns the number of the stage that a parameter is of; the head's is that of all stages."""
    found = (i for i, begins in enumerate(stages) if path.startswith(begins))
    return next(found, len(stages))


def make_network(model: NetworkModel, num_classes: int, frozen: int = 0) -> Classifier:
    """Builds the network that a config describes.

    If it starts from published weights, its input is as these expect it, if it has that setting;
    only then are there BatchNorm statistics to keep.

    Args:
      model: the config's section.
      num_classes: how many logits it has; 0 leaves its head out.
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
        made: Classifier = network(num_classes=num_classes, **settings)
        return made
    except TypeError as error:
        raise UserError(f"config.model.network: {error}.") from error
