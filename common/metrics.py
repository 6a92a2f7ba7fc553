"""Metrics as CLU collections: sums and normalisers, never a mean of means."""

from functools import lru_cache

from clu import metrics
from jaxtyping import Array, Bool, Shaped

from common.axis import AXIS


@lru_cache  # one class per set of names, so that the metrics of two steps can be merged
def _averages_of(names: tuple[str, ...]) -> type[metrics.Collection]:
    return metrics.Collection.create(**{name: metrics.Average.from_output(name) for name in names})


def averages(
    values: dict[str, Shaped[Array, "*_examples"]],
    mask: Bool[Array, " batch"] | None = None,
) -> metrics.Collection:
    """Returns the average of each named value over the examples of all devices.

    A value is one number per example, or a number that already stands for this device's share;
    their lengths may differ.
    Call it inside the parallel step. Nothing to average (a mask without True) gives NaN.

    Args:
      values: name -> value.
      mask: False on examples that are padding; only for values per example.
    """
    outputs = dict(values) if mask is None else {**values, "mask": mask}
    return _averages_of(tuple(sorted(values))).gather_from_model_output(axis_name=AXIS, **outputs)
