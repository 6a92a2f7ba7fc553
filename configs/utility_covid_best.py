"""Do the best synthetic images help? COVID / non-COVID lung CT, every patient tested once.

python launch.py --mode=utility --config=configs/utility_covid_best.py                   phantoms
python launch.py --mode=utility --config=configs/utility_covid_best.py --config.data.dir=DIR  yours

The study of utility_covid.py with the generator of acgan_covid_best.py, on all images: five folds,
twelve seeds, and a look after six. It has not run yet: docs/protocols.md says what was fixed
beforehand, what such a study can see and what it costs.
"""

from ml_collections import ConfigDict

from configs import acgan_covid_best
from configs.utility_covid import study_of


def get_config(arg: str = "") -> ConfigDict:
    """Returns the experiment; `tiny` is the same code path in seconds on a CPU."""
    gan = acgan_covid_best.get_config(arg)
    config = study_of(gan, arg)
    config.study.update(arms="real,augmented,real+1,augmented+1,synthetic", sizes="all", folds=5)
    config.study.update(seeds="0,1,2,3,4,5,6,7,8,9,10,11", looks="6")
    if arg == "tiny":
        config.study.update(arms="real,real+1", folds=3, seeds="0,1", looks="")
        config.data.image_size = gan.data.image_size
    return config.lock()
