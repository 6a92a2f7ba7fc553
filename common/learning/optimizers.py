"""Optimizers by name, with a learning rate that may warm up and decay, as a config describes them.

`b1` is config.optimizer.beta1, `b2` is beta2, `w` is weight_decay.

| name    | the update (Optax's)                               | source                        |
|---------|----------------------------------------------------|-------------------------------|
| adam    | mean gradient over root mean square                | Kingma and Ba, 2015           |
| adamw   | the same, and `-rate w params`                     | Loshchilov and Hutter, 2019   |
| sgd     | the gradient plus `w params`, with momentum `b1`   | Sutskever et al., 2013        |
| rmsprop | the same gradient over its root mean square (`b2`), with momentum `b1` | Hinton, 2012 |
| lion    | the sign of the mean gradient, and `-rate w params` | Chen et al., 2023            |
"""

import re
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import KeyEntry, keystr
from ml_collections import ConfigDict

from common.config.defaults import OptimizerSettings
from common.config.durations import never, steps
from common.program.errors import UserError
from common.program.settings import flatten

Optimizer: TypeAlias = optax.GradientTransformation


def make_optimizer(
    settings: OptimizerSettings,
    name: str,
    steps_per_epoch: float,
    updates_per_step: int = 1,
    num_steps: str = "0",
) -> Optimizer:
    """Returns the optimizer that a config names, with its schedule and its clipping.

    Args:
      settings: see `common.config.defaults.OptimizerSettings`.
      name: of the section, for messages: "optimizer.generator".
      steps_per_epoch: factor for durations in epochs.
      updates_per_step: calls of the optimizer per training step, the unit of durations.
      num_steps: the duration of training: a decay without an end lasts until then, and does not
        start if it would start later; "0" if unknown.

    Raises:
      UserError: a setting is invalid.
    """
    rate = learning_rate_schedule(settings, name, steps_per_epoch, updates_per_step, num_steps)
    return clipped(update_rule(settings, name, rate), settings.clip)


def update_rule(settings: OptimizerSettings, name: str, rate: optax.Schedule) -> Optimizer:
    """Returns the update rule of a learning rate: see `make_optimizer`.

    Raises:
      UserError: Adam is to decay the weights.
    """
    decay, betas = settings.weight_decay, {"b1": settings.beta1, "b2": settings.beta2}
    if settings.name == "adam":
        if decay:
            raise UserError(
                f"config.{name}.weight_decay is {decay}, but adam has none; set"
                f" --config.{name}.name=adamw."
            )
        return optax.adam(rate, **betas, eps=settings.epsilon)
    if settings.name == "adamw":
        return optax.adamw(rate, **betas, eps=settings.epsilon, weight_decay=decay)
    if settings.name == "lion":
        return optax.lion(rate, **betas, weight_decay=decay)
    if settings.name == "sgd":
        plain = optax.sgd(rate, momentum=settings.beta1)
    else:
        plain = optax.rmsprop(
            rate, decay=settings.beta2, eps=settings.epsilon, momentum=settings.beta1
        )
    return optax.chain(optax.add_decayed_weights(decay), plain)


def clipped(optimizer: Optimizer, norm: float) -> Optimizer:
    """Returns an optimizer that scales longer gradients to this norm (of all parameters together).

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).
    The state stays the optimizer's own, so that a run may resume with another norm; 0 scales none.
    """
    if not norm:
        return optimizer
    clip = optax.clip_by_global_norm(norm)

    def update(
        gradients: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        short, _ = clip.update(gradients, optax.EmptyState())
        moved: tuple[optax.Updates, optax.OptState] = optimizer.update(short, state, params)
        return moved

    return optax.GradientTransformation(optimizer.init, update)


def holding(optimizer: Optimizer, pattern: str, setting: str) -> Optimizer:
    """Returns an optimizer that keeps the parameters in whose names a regular expression is found.

    Such a name is "halve_1/conv_1/kernel". The state stays the optimizer's own.

    Args:
      optimizer: of all parameters.
      pattern: "" keeps none.
      setting: where it stands, for messages.

    Raises:
      UserError: it is no regular expression, or, from `init`, it is found in no name.
    """
    if not pattern:
        return optimizer
    try:
        found_in = re.compile(pattern).search
    except re.error as error:
        raise UserError(
            f"{setting} is {pattern!r}, which is no regular expression: {error}."
        ) from error

    def is_held(path: tuple[KeyEntry, ...]) -> bool:
        return found_in(keystr(path, simple=True, separator="/")) is not None

    def held(tree: optax.Updates) -> optax.Updates:
        return jax.tree_util.tree_map_with_path(
            lambda path, x: jnp.zeros_like(x) if is_held(path) else x, tree
        )

    def init(params: optax.Params) -> optax.OptState:
        if not any(is_held(path) for path, _ in jax.tree.leaves_with_path(params)):
            raise UserError(
                f"{setting} is {pattern!r}, which is found in no name of a parameter; those of the"
                f" network begin with {', '.join(sorted(params))}."
            )
        return optimizer.init(params)

    def update(
        gradients: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        updates, state = optimizer.update(held(gradients), state, params)
        return held(updates), state

    return optax.GradientTransformation(init, update)


def learning_rate_schedule(
    settings: OptimizerSettings,
    name: str,
    steps_per_epoch: float,
    updates_per_step: int = 1,
    num_steps: str = "0",
) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates; see `make_optimizer`.

    Raises:
      UserError: a setting is invalid.
    """

    def updates(duration: str) -> int:
        return steps(duration, steps_per_epoch, num_steps) * updates_per_step

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
        if steps(warmup, steps_per_epoch, length) >= end:
            found.append(
                f"config.{name}.warmup is {warmup!r}, but training ends at {length!r}: the full"
                " learning rate is never reached."
            )
        if fields[f"{name}.decay"] == "none":
            continue
        if never(last):
            begin = fields[f"{name}.decay_begin"]
            if steps(begin, steps_per_epoch, length) >= end:
                found.append(
                    f"config.{name}.decay_begin is {begin!r}, but training ends at {length!r}: the"
                    " learning rate does not fall."
                )
            continue
        if (stop := steps(last, steps_per_epoch, length)) < end:
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
