"""A trained GAN as --mode=generate and --mode=evaluate draw from it: where, and which images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from common.data.prepared.prepared import Prepared
from common.program.log import log
from common.program.memory import give_back_freed_memory
from common.runs.workdir import Run
from gan.flags import GANOptions
from gan.quality.novelty import held_out_images, scores_of
from gan.quality.reference import Images, Labels
from gan.sampling import Sampler
from gan.selection import Drawing, Keeps, rejection
from gan.state import GAN, GANState, init_state, load_frozen

_ESTIMATION_BATCHES = 16
_MOST = 2000  # real images by which odds are known, where none are held out


class Point(NamedTuple):
    """Where a generator draws: the more odd images it leaves out, the less its images vary.

    Attributes:
      truncation: how far images may be from the middle of their class; 1: as far as they are.
      reject: the percentile of discriminator rejection sampling; 0: no image is rejected.
    """

    truncation: float = 1.0
    reject: float = 0.0

    @classmethod
    def of(cls, options: GANOptions) -> "Point":
        """Returns the point that flags choose."""
        return cls(options.truncation, options.reject)

    @property
    def flags(self) -> str:
        """Returns the flags that choose it, each after a space; "" for the default."""
        default = Point()
        chosen = [
            f" --{name}={value:g}"
            for name, value in self._asdict().items()
            if value != getattr(default, name)
        ]
        return "".join(chosen)


@dataclass(frozen=True)
class Trained:
    """What a run has learned, without what only training needs.

    Attributes:
      gan: the networks.
      step: of the checkpoint.
      state: at that step.
      cache: `config.data.cache_dir`.
    """

    gan: GAN
    step: int
    state: GANState
    cache: str

    @cached_property
    def scores(self) -> Callable[[Images, Labels], Float[np.ndarray, " images"]]:
        """Returns the function of images and their classes that `scores_of` makes."""
        return scores_of(self.gan, self.state.discriminator.variables)

    def drawing(self, truncation: float) -> Drawing:
        """Returns the generator as it draws with a truncation."""
        sampler = Sampler(self.gan, truncation)
        variables = sampler.variables(self.state, _ESTIMATION_BATCHES, self.cache)
        give_back_freed_memory()
        return Drawing(sampler, variables)

    def rejection(
        self, drawing: Drawing, percentile: float, seed: int, prepared: Prepared
    ) -> list[Keeps]:
        """Returns the test of which images are kept; none for the percentile 0.

        Args:
          drawing: of the images.
          percentile: see `Point.reject`.
          seed: of the images.
          prepared: the data. Held-out images show what the discriminator's logits mean.

        Raises:
          UserError: the discriminator can't tell.
        """
        if not percentile:
            return []
        images, labels = held_out_images(prepared)
        if not len(images):
            log.warning(
                "No images are held out, so training images show the discriminator's odds; it may"
                " know these by heart, and then keeps too few."
            )
            split = prepared.splits["train"]
            rows = np.linspace(0, len(split) - 1, min(len(split), _MOST), dtype=int)
            read = split.read(rows.tolist())
            images, labels = read["image"], read["label"]
        classes = labels if self.gan.conditional else np.zeros_like(labels)
        return [rejection(drawing, seed, self.scores, (images, classes), percentile)]


def load_trained(run: Run, gan: GAN, *, judging: bool = False) -> Trained:
    """Restores the best checkpoint, or the newest.

    Args:
      run: the run.
      gan: its networks.
      judging: whether the discriminator is used; only then its frozen weights are read.

    Raises:
      UserError: there is no checkpoint, or it does not fit the config.
    """
    like = jax.eval_shape(lambda: init_state(gan, run.card, jax.random.key(0)))
    step, state = run.best_state(load_frozen(gan, like, discriminator=judging))
    newest = max(run.checkpoints.steps())
    beside = "its newest" if step == newest else f"its newest is {newest}"
    log.info("drawing from step %d of %s (%s)", step, run.workdir, beside)
    if run.card.synthetic:
        log.warning("This generator was trained on %s.", run.card.caption)
    kept = replace(
        state,
        generator=replace(state.generator, params={}, opt_state=()),  # its average draws
        discriminator=replace(state.discriminator, opt_state=()),
    )
    return Trained(gan, step, kept, run.settings.data.cache_dir)
