"""The hardware that --topology names. Needs no JAX: the environment comes before it."""

from common.devices.hardware import HERE, prepare_environment
from common.program.errors import UserError


def names_of(topologies: str) -> list[str]:
    """Returns the names of hardware that a text lists, separated by commas.

    Raises:
      UserError: there is none.
    """
    names = [name.strip() for name in topologies.split(",") if name.strip()]
    if not names or HERE in names:
        raise UserError(
            "--mode=plan needs --topology=NAME, hardware to plan for, such as v5e:2x4 or h100:8;"
            " several are separated by commas."
        )
    return names


def prepare_for(topologies: str) -> None:
    """Prepares the environment for all hardware that a text lists: see `prepare_environment`.

    Raises:
      UserError: there is none, a name is unknown, or a package is missing.
    """
    for name in names_of(topologies):
        prepare_environment(name)
