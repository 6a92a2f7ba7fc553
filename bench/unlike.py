"""How many images count as outside what a run was trained on: its own, and others.

    python bench/unlike.py --data=DIR

DIR holds the sets covid_ct, chest_xray and brain_mri. No network is needed or trained. First come
the splits of the sets, and five random ones by patient; then images of other kinds; then other
hospitals and papers, each left out of training.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.config.defaults import default_config
from common.data.prepared.prepared import Prepared, Split, prepare
from common.unlike.reference import Reference
from common.unlike.run import distances_of, reference_of
from common.unlike.statistics import Images, image_statistics

_DATA = flags.DEFINE_string("data", None, "The folder of the sets.", required=True)

_MOST = 200  # images of another kind
_SEEDS = 5
_LEAST = 8  # images of a hospital or paper
_SETS: Mapping[str, Mapping[str, object]] = {
    "covid_ct": {"channels": 1, "group": r"COVID/(.+?)(?:-p\d|[%_]|\.jpg)"},
    "chest_xray": {"channels": 1, "group": r"/(person\d+|[^/]+)[^/]*$", "folds": 10},
    "brain_mri": {"channels": 3, "group": r"(.+)_"},
}
_SOURCES = {  # the part of an image's name that tells its source
    "brain_mri": ("hospital", r"TCGA_(..)_"),
    "covid_ct": ("paper", r"/(\d{4}\.\d\d\.\d\d\.\d+)-"),
}


def main(_: list[str]) -> None:
    """Prints the shares of images that lie outside."""
    print(f"{'trained on':<11} {'own test':>9} {'5 random splits':>20}  others")
    sets = {name: prepare(_settings(name)) for name in _SETS}
    for name, prepared in sets.items():
        splits = prepared.splits
        reference = reference_of(splits["train"], splits.get("val"))
        random = [
            _own(prepare(_settings(name, folds=0, split_seed=1 + seed, splits="70,15,15")))
            for seed in range(_SEEDS)
        ]
        others = [
            f"{other} {_share(reference, _as_seen_by(name, other)):.0%}"
            for other in sets
            if other != name
        ]
        others += [
            f"{kind} {_share_of(reference, images):.0%}"
            for kind, images in _spoilt(splits["test"]).items()
        ]
        spread = f"{np.mean(random):.1%} ({min(random):.1%} to {max(random):.1%})"
        print(f"{name:<11} {_own(prepared):>9.1%} {spread:>20}  {', '.join(others)}")
    for name, (kind, pattern) in _SOURCES.items():
        print(f"{name}, each {kind} left out: {_left_out(sets[name], pattern)}")


def _settings(name: str, **changed: object) -> ConfigDict:
    data = default_config().data
    folder = Path(_DATA.value) / name
    data.update(dir=str(folder), name=name, image_size=128, **{**_SETS[name], **changed})
    return data


def _as_seen_by(name: str, other: str) -> Split:
    """Returns the test images of another set, prepared as those of a set."""
    return prepare(_settings(other, channels=_SETS[name]["channels"])).splits["test"]


def _own(prepared: Prepared) -> float:
    splits = prepared.splits
    return _share(reference_of(splits["train"], splits.get("val")), splits["test"])


def _share(reference: Reference, split: Split) -> float:
    return float((distances_of(reference, split) > 1).mean())


def _share_of(reference: Reference, images: Images) -> float:
    return float((reference.distances(image_statistics(images)) > 1).mean())


def _spoilt(test: Split) -> dict[str, Images]:
    """Returns noise, constant images, and corrupted test images."""
    rng = np.random.default_rng(0)
    own = test.read(np.linspace(0, len(test) - 1, min(len(test), _MOST), dtype=int).tolist())
    images = own["image"]
    shape, flat = images.shape, images.reshape(len(images), -1, images.shape[-1])
    makers: dict[str, Callable[[], np.ndarray]] = {
        "uniform noise": lambda: rng.integers(0, 256, shape),
        "normal noise": lambda: rng.normal(128, 40, shape),
        "smooth noise": lambda: 128 + 600 * gaussian_filter(rng.normal(size=shape), (0, 6, 6, 0)),
        "black": lambda: np.zeros(shape),
        "white": lambda: np.full(shape, 255),
        "pixels shuffled": lambda: rng.permuted(flat, axis=1).reshape(shape),
        "5 % salt and pepper": lambda: np.where(
            rng.random(shape) < 0.05, rng.choice([0, 255], shape), images
        ),
        "noise of 20 levels added": lambda: images + rng.normal(0, 20, shape),
        "blurred by 3 pixels": lambda: gaussian_filter(images, (0, 3, 3, 0)),
        "inverted": lambda: 255 - images,
        "upside down": lambda: images[:, ::-1],
    }
    return {kind: np.clip(make(), 0, 255).astype(np.uint8) for kind, make in makers.items()}


def _left_out(prepared: Prepared, pattern: str) -> str:
    """Returns the share of each source that is outside if training had only the others."""
    splits = list(prepared.splits.values())
    ids = tuple(name for split in splits for name in split.ids)
    groups = tuple(group for split in splits for group in split.groups)
    rows = np.concatenate([split.rows for split in splits])
    found = (re.search(pattern, name) for name in ids)
    sources = np.array([match[1] if match else "" for match in found])
    everything = Split(splits[0].source, rows, ids, groups)
    shares = {}
    for source, number in sorted(Counter(sources.tolist()).items()):
        if source and number >= _LEAST:
            out = sources == source
            reference = reference_of(_part(everything, ~out), None)
            shares[source] = _share(reference, _part(everything, out)), number
    listed = ", ".join(f"{source} {share:.0%} of {n}" for source, (share, n) in shares.items())
    return f"mean {np.mean([share for share, _ in shares.values()]):.0%}; {listed}"


def _part(split: Split, chosen: np.ndarray) -> Split:
    places = np.flatnonzero(chosen)
    return replace(
        split,
        rows=split.rows[places],
        ids=tuple(split.ids[place] for place in places),
        groups=tuple(split.groups[place] for place in places),
    )


if __name__ == "__main__":
    app.run(main)
