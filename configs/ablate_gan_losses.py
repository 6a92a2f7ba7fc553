"""Which adversarial loss suits COVID CT? Five of them in acgan_covid.py, three seeds each.

python launch.py --mode=ablate --config=configs/ablate_gan_losses.py                        phantoms
python launch.py --mode=ablate --config=configs/ablate_gan_losses.py --config.data.dir=DIR  yours

Each run is an ordinary one in WORKDIR/cells; the same command goes on where it was stopped.
docs/ablation.md explains the comparison.
"""

from ml_collections import ConfigDict

from configs import acgan_covid
from gan.config import judged_at_the_end
from studies.ablation.sweep import Sweep


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = judged_at_the_end(acgan_covid.get_config(arg))
    if arg == "tiny":
        config.train.update(num_steps="4", checkpoint_every="2", picture_every="0")
    return config.lock()


def sweep() -> Sweep:
    """Returns what varies; the other losses are compared with the first."""
    losses = ("non_saturating", "least_squares", "hinge", "wasserstein", "relativistic")
    return Sweep({loss: {"loss.name": loss} for loss in losses}, seeds=(0, 1, 2))
