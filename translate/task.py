"""The translation task: what the loop and the modes call."""

from typing import Any

from ml_collections import ConfigDict

from common.data.prepared.prepared import DataCard
from translate.config import TranslateSettings
from translate.cyclegan import CycleGAN
from translate.evaluate import evaluate
from translate.export import export
from translate.pix2pix import Pix2Pix
from translate.predict import open_predictor, predict
from translate.state import make_translator
from translate.translation import Translation

# A mode is a function of this module.
__all__ = ["evaluate", "export", "make_task", "open_predictor", "predict"]

_TASKS: dict[str, type[Translation[Any]]] = {"pix2pix": Pix2Pix, "cyclegan": CycleGAN}


def make_task(config: ConfigDict, card: DataCard) -> Translation[Any]:
    """Builds the task that a config describes.

    Raises:
      UserError: the data has no pairs or no two kinds of images, or a setting is invalid.
    """
    settings = TranslateSettings.of(config)
    translator = make_translator(settings, card)
    return _TASKS[settings.model.name](settings, translator, card)
