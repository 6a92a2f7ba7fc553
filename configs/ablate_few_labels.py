r"""What helps a classifier that has 25 labelled X-rays of each class? Four answers, five seeds.

python launch.py --mode=ablate --config=configs/ablate_few_labels.py                        phantoms
python launch.py --mode=ablate --config=configs/ablate_few_labels.py --config.data.dir=DIR \
    --config.data.folds=10 --config.data.labels_per_class=10 --workdir=runs/few_labels_10   yours

A seed also chooses which images keep their label. "GAN features" and "pretraining" start from
networks that have seen all images without labels, one of each seed, trained before with the same
--config.data flags:
python launch.py --mode=ablate --config=configs/dcgan_chest_xray.py --config.data.channels=1 \
    --sweep='seed=0..4' --workdir=runs/few_labels_gans
python launch.py --mode=ablate --config=configs/pretrain_covid.py --config.data.name=chest_xray \
    --config.model.name=dcgan --config.model.network.width=64 --sweep='seed=0..4' --split=val \
    --workdir=runs/few_labels_pretrained

docs/few_labels.md explains the arms.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import efficientnet_chest_xray, few_labels_chest_xray, semi_supervised_chest_xray
from studies.ablation.sweep import Sweep

GANS = "runs/few_labels_gans/cells/as configured"
PRETRAINED = "runs/few_labels_pretrained/cells/as configured"


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    return few_labels_chest_xray.get_config(arg)


def sweep(arg: str = "") -> Sweep:
    """Returns what varies; the other arms are compared with the first."""
    transfer = efficientnet_chest_xray.get_config(arg).to_dict()
    both = semi_supervised_chest_xray.get_config(arg).to_dict()
    arms: dict[str, dict[str, Any]] = {
        "from scratch": {},
        "GAN features": {"train.init_from": lambda seed: f"{GANS}/seed{seed}"},
        "pretraining": {"train.init_from": lambda seed: f"{PRETRAINED}/seed{seed}"},
        "ImageNet": {
            "model": transfer["model"] | {"weights": "" if arg == "tiny" else "imagenet"},
            "optimizer": transfer["optimizer"],
        },
        "K+1 classes": {
            "task": "gan",
            **{section: both[section] for section in ("model", "loss", "optimizer", "train")},
            **{f"data.{name}": both["data"][name] for name in ("unlabelled", "balance")},
            "data.batch_size": both["data"]["batch_size"],
            "quality.extractor": "",
        },
    }
    for settings in arms.values():
        settings["data.labels_seed"] = lambda seed: seed
    return Sweep(arms, seeds=range(5))
