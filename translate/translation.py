"""What tasks that translate have in common: how they are measured and drawn."""

from functools import partial
from typing import ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from common.data.prepared.prepared import DataCard
from common.data.transforms import to_signed_unit
from common.devices.lowering import Program
from common.report.images import Picture
from common.scores import metrics
from common.scores.ssim import ssim
from common.training.task import Batch, Examples, Metrics, Task
from translate.config import TranslateSettings
from translate.panels import RETURNED, TRANSLATED, panels, returned_case, translated_case
from translate.scores import psnr
from translate.state import CycleState, PairedState, Translator, average_of, init_state
from translate.steps import Images, distance, drawn, translate

OfState = TypeVar("OfState", bound=PairedState | CycleState)
_SHOWN = 4  # training images in a picture


class Translation(Task[OfState]):
    """Training of one generator, or of two that translate both ways."""

    settings: TranslateSettings
    both_ways: ClassVar[bool] = False

    def __init__(self, settings: TranslateSettings, translator: Translator, card: DataCard) -> None:
        super().__init__(settings, card)
        self.translator = translator
        self._draw = jax.jit(partial(drawn, translator))

    def init(self, rng: Key[Array, ""]) -> OfState:
        """Returns the state at step 0."""
        init = partial(init_state, self.settings, self.translator, self.card)
        state: OfState = jax.jit(init)(rng)
        return state

    def eval_step(self, state: OfState, batch: Batch) -> Metrics:
        """Compares translations with their targets; without any, images with what comes back."""
        images = to_signed_unit(batch["image"])
        if "target" in batch:
            found = translate(self.translator, average_of(state), images)
            values = _apart(found, to_signed_unit(batch["target"]))
        else:
            is_first = (batch["label"] == 0)[:, None, None, None]
            there, back = self._and_returned(state, images), self._and_returned(state, images, True)
            values = {"cycle_l1": distance(jnp.where(is_first, there, back), images) / 2}
        return metrics.averages(values, mask=batch["valid"])

    def _and_returned(self, state: OfState, images: Images, back: bool = False) -> Images:
        """Returns images that were translated and brought back."""
        found = translate(self.translator, average_of(state, back), images)
        return translate(self.translator, average_of(state, not back), found)

    def programs(self, state: OfState, size: int) -> dict[str, Program]:
        """Returns the translation of a batch of images."""
        card = self.card
        shape = (size, card.image_size, card.image_size, card.channels)
        images = jax.ShapeDtypeStruct(shape, jnp.uint8)
        draw = partial(drawn, self.translator)
        return {"predict": Program(draw, (average_of(state), images), (1,), (), True)}

    def pictures(self, state: OfState, examples: Examples) -> dict[str, Picture]:
        """Returns translations of training images beside their targets or, without pairs, back."""
        images, targets = examples["image"][:_SHOWN], examples["target"][:_SHOWN]
        step = int(state.step)
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

    def _drawn(self, state: OfState, images: np.ndarray, back: bool = False) -> np.ndarray:
        return np.asarray(self._draw(average_of(state, back), jnp.asarray(images)))


def _apart(found: Images, targets: Images) -> dict[str, Array]:
    """Returns how far translations are from their targets, both in [-1, 1]."""
    unit, true = (found + 1) / 2, (targets + 1) / 2
    return {"l1": distance(unit, true), "psnr": psnr(unit, true), "ssim": ssim(unit, true)}
