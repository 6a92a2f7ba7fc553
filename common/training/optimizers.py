"""Adam with a learning rate that may warm up and decay, as a config describes it."""

import optax
from ml_collections import ConfigDict

from common.errors import UserError
from common.training.config import steps


def make_adam(
    settings: ConfigDict, name: str, steps_per_epoch: float, updates_per_step: int = 1
) -> optax.GradientTransformation:
    """Builds Adam (Kingma and Ba, 2015) with its schedule.

    Args:
      settings: see `common.training.config.default_adam`.
      name: of the section, for messages: "optimizer.generator".
      steps_per_epoch: what a duration in epochs is multiplied with.
      updates_per_step: how often the optimizer is called in a training step, in which durations
        are given.

    Raises:
      UserError: a setting means nothing.
    """
    return optax.adam(
        learning_rate_schedule(settings, name, steps_per_epoch, updates_per_step),
        b1=settings.beta1,
        b2=settings.beta2,
        eps=settings.epsilon,
    )


def learning_rate_schedule(
    settings: ConfigDict, name: str, steps_per_epoch: float, updates_per_step: int = 1
) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates; see `make_adam`.

    Raises:
      UserError: a setting means nothing.
    """

    def updates(duration: str) -> int:
        return steps(duration, steps_per_epoch) * updates_per_step

    warmup, begin = updates(settings.warmup), updates(settings.decay_begin)
    length = updates(settings.decay_end) - begin
    if settings.decay not in ("none", "linear", "cosine"):
        raise UserError(
            f"config.{name}.decay is {settings.decay!r}; it must be 'none', 'linear' or 'cosine'."
        )
    if settings.decay != "none" and (length <= 0 or begin < warmup):
        raise UserError(
            f"config.{name}: the decay goes from decay_begin={settings.decay_begin!r} to"
            f" decay_end={settings.decay_end!r}; it must end later than it begins, and begin when"
            f" the warm-up ({settings.warmup!r}) is over."
        )
    rate = settings.learning_rate
    parts = [optax.linear_schedule(0.0, rate, warmup), optax.constant_schedule(rate)]
    boundaries = [warmup]
    if settings.decay != "none":
        falling = {"linear": optax.linear_schedule, "cosine": _cosine_schedule}[settings.decay]
        parts.append(falling(rate, 0.0, length))
        boundaries.append(begin)
    return optax.join_schedules(parts, boundaries)


def _cosine_schedule(rate: float, end: float, length: int) -> optax.Schedule:
    """Falls along half a cosine (Loshchilov and Hutter, 2017)."""
    return optax.cosine_decay_schedule(rate, length, alpha=end / rate if rate else 0.0)
