"""The settings that every segmentation run has, with their defaults."""

from ml_collections import ConfigDict

from common.config import defaults as configs
from common.config.declaration import Declaration
from common.config.defaults import OptimizerSettings, default_config
from common.program.rules import Rules, choice, number, switch, whole
from unet.flags import MODES, UNetOptions

RULES: Rules = {  # which values of the settings are valid
    **configs.RULES,
    "model.depth": whole(1, 12),
    "model.norm_output": switch(),
    "model.input": choice("unit", "standardised"),
    "loss.overlap_over": choice("image", "batch"),
    "loss.*": number(0, 1e6),
    **{f"optimizer.{name}": rule for name, rule in configs.OPTIMIZER_RULES.items()},
    **{f"model.{name}": rule for name, rule in configs.NETWORK_RULES.items()},
}


def unet_config(arg: str = "") -> ConfigDict:
    """Returns a segmentation config: a U-Net, cross-entropy, Adam.

    Args:
      arg: "" or "tiny".
    """
    config = default_config(arg)
    config.task = "unet"
    # evaluate and predict use the checkpoint with the best validation Dice.
    config.train.best_metric = "val/dice"
    config.train.low_memory = True
    config.model = ConfigDict(
        {
            "width": 32,  # maps of the first level; each further level has twice as many
            "depth": 5,  # levels
            "norm_output": False,  # a BatchNorm after the last convolution
            "momentum": 0.9,  # of the running statistics of BatchNorm
            "epsilon": 1e-3,  # of BatchNorm
            "input": "unit",  # pixels in [0, 1]; or "standardised": mean 0, deviation 1 per image
            "average_decay": 0.0,  # of the moving average that is evaluated; 0: the last step is
        }
    )
    config.loss = ConfigDict(
        {
            "cross_entropy": 1.0,  # weights of the losses: see unet/losses.py
            "dice": 0.0,
            "focal": 0.0,
            "tversky": 0.0,
            "focal_gamma": 2.0,
            "tversky_alpha": 0.3,
            "tversky_beta": 0.7,
            "overlap_over": "image",  # or "batch": what Dice and Tversky are taken over
        }
    )
    config.optimizer = OptimizerSettings().section
    return config


TASK = Declaration(
    defaults=unet_config,
    rules=RULES,
    options=UNetOptions,
    modes=MODES,
    keeps_reference=True,
)
