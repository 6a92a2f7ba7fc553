"""Adam with a learning rate that may warm up and decay, as a config describes it."""

import optax
from ml_collections import ConfigDict

from common.config.durations import never, steps
from common.program.errors import UserError
from common.program.settings import flatten


def make_adam(
    settings: ConfigDict,
    name: str,
    steps_per_epoch: float,
    updates_per_step: int = 1,
    num_steps: str = "0",
) -> optax.GradientTransformation:
    """Returns Adam (Kingma and Ba, 2015) with its schedule.

    Args:
      settings: see `common.config.defaults.default_adam`.
      name: of the section, for messages: "optimizer.generator".
      steps_per_epoch: factor for durations in epochs.
      updates_per_step: calls of the optimizer per training step, the unit of durations.
      num_steps: the duration of training: a decay without an end lasts until then, and does not
        start if it would start later; "0" if unknown.

    Raises:
      UserError: a setting is invalid.
    """
    return optax.adam(
        learning_rate_schedule(settings, name, steps_per_epoch, updates_per_step, num_steps),
        b1=settings.beta1,
        b2=settings.beta2,
        eps=settings.epsilon,
    )


def learning_rate_schedule(
    settings: ConfigDict,
    name: str,
    steps_per_epoch: float,
    updates_per_step: int = 1,
    num_steps: str = "0",
) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates; see `make_adam`.

    Raises:
      UserError: a setting is invalid.
    """

    def updates(duration: str) -> int:
        return steps(duration, steps_per_epoch) * updates_per_step

    warmup, begin = updates(settings.warmup), updates(settings.decay_begin)
    is_open = never(settings.decay_end)
    end = num_steps if is_open else settings.decay_end
    length = updates(end) - begin
    decays = settings.decay != "none" and not (is_open and 0 < updates(num_steps) <= begin)
    if decays and (length <= 0 or begin < warmup):
        raise UserError(
            f"config.{name}: the decay goes from decay_begin={settings.decay_begin!r} to"
            f" decay_end={end!r}; it must end later than it begins, and begin after"
            f" the warm-up ({settings.warmup!r})."
        )
    rate = settings.learning_rate
    parts = [optax.linear_schedule(0.0, rate, warmup), optax.constant_schedule(rate)]
    boundaries = [warmup]
    if decays:
        falling = {"linear": optax.linear_schedule, "cosine": _cosine_schedule}[settings.decay]
        parts.append(falling(rate, 0.0, length))
        boundaries.append(begin)
    return optax.join_schedules(parts, boundaries)


def _cosine_schedule(rate: float, end: float, length: int) -> optax.Schedule:
    """Returns a rate that falls along half a cosine (Loshchilov and Hutter, 2017)."""
    return optax.cosine_decay_schedule(rate, length, alpha=end / rate if rate else 0.0)


def check_rates(config: ConfigDict, steps_per_epoch: float) -> list[str]:
    """Returns sentences about rates that training never reaches.

    Raises:
      UserError: a rate is 0 before training ends, which would then learn nothing.
    """
    fields, found = dict(flatten(config)), []
    length = config.train.num_steps
    end = steps(length, steps_per_epoch)
    for name in (name.removesuffix(".decay") for name in fields if name.endswith(".decay")):
        warmup, last = fields[f"{name}.warmup"], fields[f"{name}.decay_end"]
        if steps(warmup, steps_per_epoch) >= end:
            found.append(
                f"config.{name}.warmup is {warmup!r}, but training ends at {length!r}: the full"
                " learning rate is never reached."
            )
        if fields[f"{name}.decay"] == "none":
            continue
        if never(last):
            begin = fields[f"{name}.decay_begin"]
            if steps(begin, steps_per_epoch) >= end:
                found.append(
                    f"config.{name}.decay_begin is {begin!r}, but training ends at {length!r}: the"
                    " learning rate does not fall."
                )
            continue
        if (stop := steps(last, steps_per_epoch)) < end:
            raise UserError(
                f"config.{name}.decay_end is {last!r}: the learning rate is 0 from step {stop} on,"
                f" but config.train.num_steps is {length!r}, {end} steps; set"
                f" --config.{name}.decay_end=0, which is the end of training, or stop there."
            )
        if stop > end:
            found.append(
                f"config.{name}.decay_end is {last!r}, but training ends at {length!r}: the"
                " learning rate does not fall to 0."
            )
    return found
