"""Reads generated digits with a classifier: do all ten occur, and how confident is the reader?

    python launch.py --mode=generate --workdir=runs/mnist --num_images=2000 --output=digits
    python bench/mnist_digits.py --data=MNIST --images=digits

The reader is a network with one hidden layer, trained here on the 60,000 real digits. Its
confidence is the probability of the digit that it names; that for real test digits is printed, too.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from common.config.defaults import default_config
from common.data.prepared.prepared import prepare

_HIDDEN, _EPOCHS = 256, 12

Pixels = Float[np.ndarray, "n pixels"]


def main() -> None:
    """Trains the reader, then prints its results for the test digits and the generated ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the folder of MNIST's IDX files")
    parser.add_argument(
        "--images", required=True, help="a folder of generated images, at any depth"
    )
    args = parser.parse_args()
    splits = prepare(mnist(args.data)).splits
    train, test = (split.read(range(len(split))) for split in (splits["train"], splits["test"]))
    reader = MLPClassifier((_HIDDEN,), max_iter=_EPOCHS, early_stopping=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs on purpose
        reader.fit(flat(train["image"]), train["label"])
    sure = reader.predict_proba(flat(test["image"]))
    right = (sure.argmax(1) == test["label"]).mean()
    print(f"real test digits: {right:.1%} read correctly, mean confidence {sure.max(1).mean():.3f}")
    sure = reader.predict_proba(flat(read_folder(Path(args.images))))
    counts = np.bincount(sure.argmax(1), minlength=10)
    print(f"{len(sure)} generated images: mean confidence {sure.max(1).mean():.3f}")
    print("digit  share")
    for digit, count in enumerate(counts):
        print(f"{digit:>5}  {count / len(sure):.1%}")


def mnist(folder: str) -> ConfigDict:
    """Returns the settings of MNIST as it is."""
    data = default_config().data
    data.update(name="mnist", dir=folder, image_size=28, channels=1)
    return data


def read_folder(folder: Path) -> np.ndarray:
    """Returns all PNG images of class folders, uint8 [n, 28, 28]."""
    files = sorted(folder.glob("*/[0-9]*.png"))
    if not files:
        raise SystemExit(f"{folder} has no images in */; generate some with --mode=generate.")
    images = []
    for file in files:
        with Image.open(file) as image:
            images.append(np.asarray(image))
    return np.stack(images)


def flat(images: np.ndarray) -> Pixels:
    """Returns pixels from 0 to 1, one image per row."""
    return images.reshape(len(images), -1) / 255


if __name__ == "__main__":
    main()
