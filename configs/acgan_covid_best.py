"""COVID / non-COVID lung CT, drawn well from 425 slices: a critic pretrained on photographs.

python launch.py --config=configs/acgan_covid_best.py                        built-in phantoms
python launch.py --config=configs/acgan_covid_best.py --config.data.dir=DIR  your images
"""

from ml_collections import ConfigDict

from configs.gan import get_config as any_images


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    config = any_images(arg).unlock()
    config.data.channels = 1
    return config.lock()
