"""Images -> translations, in batches on the devices."""

from functools import partial
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import UInt8

from common.devices import apply
from common.program.errors import UserError
from common.runs.workdir import Run
from translate.config import TranslateSettings
from translate.state import average_of, init_state, make_translator
from translate.steps import drawn

BATCH = 16
Images: TypeAlias = UInt8[np.ndarray, "num height width channels"]


class TrainedTranslator:
    """The generator of a trained run.

    Attributes:
      step: of its checkpoint.
      multiple: the number of pixels of which sides of images must be multiples.
      translator: what training does not change.
      variables: of the generator.
    """

    def __init__(self, run: Run, *, back: bool = False) -> None:
        """Reads the run's best checkpoint, or its newest.

        Args:
          run: the run.
          back: whether to translate from the targets to the images.

        Raises:
          UserError: there is no checkpoint, or the run does not translate back.
        """
        settings = TranslateSettings.of(run.config)
        if back and settings.model.name != "cyclegan":
            raise UserError(
                f"{run.workdir} was trained on pairs and translates one way, so it takes no --back;"
                " train another run the other way, as with --config.data.take='G>R'"
            )
        translator = make_translator(settings, run.card)
        like = jax.eval_shape(
            partial(init_state, settings, translator, run.card), jax.random.key(0)
        )
        self.step, state = run.best_state(like)
        self.multiple = translator.generator.multiple
        variables = average_of(state, back)
        self.translator, self.variables = translator, variables
        self._run = apply.in_batches(partial(drawn, translator), variables, BATCH)

    def translate(self, images: Images) -> Images:
        """Returns the translations of images, both 0..255."""
        return self._run(images)
