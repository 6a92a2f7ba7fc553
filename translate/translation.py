"""What tasks that translate have in common: how they are measured and drawn."""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from common.data.prepared.prepared import DataCard
from common.data.transforms import from_signed_unit, to_signed_unit
from common.devices.lowering import Program
from common.learning.network import Variables
from common.report.images import Picture
from common.scores import metrics
from common.scores.ssim import ssim
from common.training.task import Batch, Examples, Metrics, State, Task
from translate.config import TranslateSettings
from translate.panels import RETURNED, TRANSLATED, panels, returned_case, translated_case
from translate.scores import psnr
from translate.state import Translator
from translate.steps import Images, distance, translate

_SHOWN = 4  # training images in a picture


class Translation(Task[State]):
    """Training of one generator, or of two that translate both ways."""

    settings: TranslateSettings
    both_ways: ClassVar[bool] = False

    def __init__(
        self, settings: TranslateSettings, translator: Translator, card: DataCard
    ) -> None:
        super().__init__(settings, card)
        self.translator = translator
        self._draw = jax.jit(partial(drawn, translator))

    def average(self, state: Any, back: bool = False) -> Variables:
        """Returns the variables of the generator that translates images, or `back` to them."""
        variables: Variables = state.back_average if back else state.average
        return variables

    def eval_step(self, state: State, batch: Batch) -> Metrics:
        """Compares translations with their targets; without any, images with what comes back."""
        images = to_signed_unit(batch["image"])
        if "target" in batch:
            found = translate(self.translator, self.average(state), images)
            values = _apart(found, to_signed_unit(batch["target"]))
        else:
            is_first = (batch["label"] == 0)[:, None, None, None]
            there, back = self._and_returned(state, images), self._and_returned(state, images, True)
            values = {"cycle_l1": distance(jnp.where(is_first, there, back), images) / 2}
        return metrics.averages(values, mask=batch["valid"])

    def _and_returned(self, state: State, images: Images, back: bool = False) -> Images:
        """Returns images that were translated and brought back."""
        found = translate(self.translator, self.average(state, back), images)
        return translate(self.translator, self.average(state, not back), found)

    def programs(self, state: State, size: int) -> dict[str, Program]:
        """Returns the translation of a batch of images."""
        card = self.card
        shape = (size, card.image_size, card.image_size, card.channels)
        images = jax.ShapeDtypeStruct(shape, jnp.uint8)
        draw = partial(drawn, self.translator)
        return {"predict": Program(draw, (self.average(state), images), (1,), (), True)}

    def pictures(self, state: State, examples: Examples) -> dict[str, Picture]:
        """Returns translations of training images beside their targets or, without pairs, back."""
        images, targets = (examples[name][:_SHOWN] for name in ("image", "target"))
        step = int(state.step)  # type: ignore[attr-defined]
        title = f"step {step}: training images of {self.card.caption}"
        found = self._drawn(state, images)
        if not self.both_ways:
            cases = list(map(translated_case, images, found, targets))
            return {"translations": panels(cases, title, TRANSLATED)}
        back = self._drawn(state, targets, back=True)
        cases = [
            *map(returned_case, images, found, self._drawn(state, found, back=True)),
            *map(returned_case, targets, back, self._drawn(state, back)),
        ]
        return {"translations": panels(cases, title, RETURNED)}

    def _drawn(self, state: State, images: np.ndarray, back: bool = False) -> np.ndarray:
        return np.asarray(self._draw(self.average(state, back), jnp.asarray(images)))


def drawn(translator: Translator, variables: Variables, images: Array) -> Array:
    """Returns translations of images, both 0..255."""
    return from_signed_unit(translate(translator, variables, to_signed_unit(images)))


def _apart(found: Images, targets: Images) -> dict[str, Array]:
    """Returns how far translations are from their targets, both in [-1, 1]."""
    unit, true = (found + 1) / 2, (targets + 1) / 2
    return {"l1": distance(unit, true), "psnr": psnr(unit, true), "ssim": ssim(unit, true)}
