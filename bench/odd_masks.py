"""How many planted faults of masks the inspection finds, and how many correct masks it calls odd.

    python bench/odd_masks.py --input=brain_mri/train --num=24 --rounds=12
    python bench/odd_masks.py --num=24 --rounds=12          the phantoms

Each round draws pairs with non-empty masks and corrupts four of a hundred of them, at least four:
two masks are exchanged, one is inverted, one is moved by an eighth of the image.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.config.defaults import default_config
from common.data.settings import DataSettings
from common.data.sources.open import open_source
from common.inspect.agreement import odd_masks
from common.inspect.check_agreement import small_images
from common.inspect.facts import survey

_INPUT = flags.DEFINE_string("input", "", "A folder of pairs; default phantoms.")
_NUM = flags.DEFINE_integer("num", 24, "Pairs in a round; 0 for all.")
_ROUNDS = flags.DEFINE_integer("rounds", 12, "Number of rounds.")
_GROUP = flags.DEFINE_string("group", "", "config.data.group.")

_PLANTED = ("exchanged", "exchanged", "moved", "inverted")
_LEAST_PIXELS = 9


def main(_: list[str]) -> None:
    """Prints how many masks of each kind were found to be of each kind."""
    data = default_config().data
    data.update(name="brain_mri", num_phantoms=200, dir=_INPUT.value, group=_GROUP.value)
    data.update(image_size=64, channels=3)
    surveyed = survey(open_source(data), DataSettings.of(data))
    pairs = [
        (image.pair, image.group or image.record.id)
        for image in surveyed.images
        if image.split == "train" and image.pair and image.pair.foreground.sum() >= _LEAST_PIXELS
    ]
    print(f"{len(pairs)} non-empty masks of {surveyed.name}")
    found: Counter[tuple[str, str]] = Counter()
    for seed in range(_ROUNDS.value):
        random = np.random.default_rng(seed)
        chosen = random.permutation(len(pairs))[: _NUM.value or None]
        images = small_images([pairs[row][0] for row in chosen])
        masks = np.stack([pairs[row][0].foreground for row in chosen])
        kinds = _spoil(masks, random)
        odd = {each.row: each for each in odd_masks(images, masks, [pairs[r][1] for r in chosen])}
        found.update(
            (kinds[row], odd[row].kind if row in odd else "-") for row in range(len(masks))
        )
    for kind in ("right", *dict.fromkeys(_PLANTED)):
        counts = {
            seen: count for (planted, seen), count in sorted(found.items()) if planted == kind
        }
        total = sum(counts.values())
        share = 1 - counts.get("-", 0) / total
        print(f"{kind:10} {total:6}  taken for odd: {share:6.1%}  {counts}")


def _spoil(masks: np.ndarray, random: np.random.Generator) -> list[str]:
    """Plants faults in place; returns the kind of each mask."""
    kinds = ["right"] * len(masks)
    order = random.permutation(len(masks))
    for start in range(0, 4 * max(1, len(masks) // 100), 4):
        one, other, moved, inverted = order[start : start + 4]
        masks[[one, other]] = masks[[other, one]]
        masks[moved] = np.roll(masks[moved], (8, -8), (0, 1))
        masks[inverted] = ~masks[inverted]
        for row, kind in zip(order[start : start + 4], _PLANTED, strict=True):
            kinds[row] = kind
    return kinds


if __name__ == "__main__":
    app.run(main)
