"""Do drawn phantoms show the class that was asked for, in the eyes of a logistic regression?

    python launch.py --mode=generate --workdir=runs/phantoms --num_images=2000 --output=drawn
    python bench/phantom_classes.py --input=drawn

It learns from 2,000 phantoms of lungs that no run has seen, at 32x32 pixels, and is tested on 500
others first. It prints the share of the images of each class whose class it names.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.data.phantoms import lung_ct

_SIZE = 32
_TRAIN_SEED, _TEST_SEED = 77, 78  # those of runs are in common/data/sources/open.py


def main() -> None:
    """Prints a line for the other phantoms and for each folder of a class."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--input", type=Path, required=True, help="a folder COVID and one NonCOVID")
    folder = parser.parse_args().input
    learnt, others = lung_ct(_TRAIN_SEED, 2000, 64), lung_ct(_TEST_SEED, 500, 64)
    model = LogisticRegression(C=0.1, max_iter=2000).fit(_pixels(learnt.images), learnt.labels)
    score = model.score(_pixels(others.images), others.labels)
    print(f"other phantoms: {score:.3f} of {len(others.images)}")
    for label, name in enumerate(("COVID", "NonCOVID")):
        files = sorted((folder / name).glob("*.png"))
        images = [np.asarray(Image.open(file).convert("L"))[..., None] for file in files]
        named = (model.predict(_pixels(images)) == label).mean()
        print(f"{name}: {named:.3f} of {len(images)}")


def _pixels(
    images: Iterable[UInt8[np.ndarray, "height width 1"]],
) -> Float[np.ndarray, "num pixels"]:
    """Returns small images as rows of numbers in [0, 1]."""
    small = (
        Image.fromarray(image[..., 0]).resize((_SIZE, _SIZE), Image.Resampling.BOX)
        for image in images
    )
    return np.stack([np.asarray(image, np.float32).ravel() / 255 for image in small])


if __name__ == "__main__":
    main()
