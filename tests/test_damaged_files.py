"""Every file of a newest checkpoint, damaged in every way: the right state or a sentence.

The whole table (`slow`) is in docs/reliability.md; here a sample of it.
"""

import dataclasses
import shutil
from collections import Counter

import jax
import numpy as np
import pytest

from common.data.prepared.prepared import DataCard
from common.program.errors import UserError
from common.runs.checkpoints import Checkpoints
from common.training.task import make_task, new_state
from configs import acgan_covid, small_cnn_chest_xray, toy_gan_1d, unet_brain_mri
from tests.damage import KINDS, flipped, linked_copy

CARD = DataCard(
    *("test", ("A", "B"), {"train": 8}, 64, 1, "0", False, 0),
    mask_classes=("background", "lesion"),
    class_counts=(4, 4),
)
TOY = dataclasses.replace(CARD, classes=("A",), image_size=1, class_counts=(8,))
WHOLE = [
    pytest.param(module, marks=pytest.mark.slow)
    for module in (acgan_covid, unet_brain_mri, small_cnn_chest_xray)
]
FLIPS = 8  # in each file


def saved(module, card, folder):
    """Saves two states of a task, the second with other numbers; returns both by step."""
    state = jax.device_get(new_state(make_task(module.get_config("tiny"), card), seed=0))
    later = jax.tree.map(lambda x: (x + 1).astype(x.dtype), state)
    with Checkpoints(folder, keep_last=2) as checkpoints:
        for step, values in ((3, state), (6, later)):
            checkpoints.save(step, values, {})
    return {3: state, 6: later}


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def outcome(folder, states):
    """Says what reading and going on make of a folder: they must agree."""
    found = []
    for use in ("best", "newest_sound_step"):
        checkpoints = Checkpoints(folder)
        try:
            if use == "best":
                step, state = checkpoints.best(states[3])
            else:
                step = checkpoints.newest_sound_step(states[3])
                state = checkpoints.restore(step, states[3])
        except UserError:
            found.append("sentence")
        else:
            newest = "this" if step == 6 else "previous"
            found.append(newest if same(state, states[step]) else "wrong")
    return found[0] if len(set(found)) == 1 else "wrong"


def cases(folder):
    """Returns (kind, file, seed) for every file of the newest checkpoint."""
    files = sorted(path for path in (folder / "6").rglob("*") if path.is_file())
    return [
        (kind, file.relative_to(folder), seed)
        for kind in KINDS
        for file in files
        if file.stat().st_size
        for seed in range(FLIPS if kind is flipped else 1)
    ]


@pytest.mark.parametrize("module", [toy_gan_1d, *WHOLE])
@pytest.mark.parametrize("alone", [False, True])
def test_no_damage_goes_unnoticed(tmp_path, module, alone):
    card, source = (TOY if module is toy_gan_1d else CARD), tmp_path / "sound"
    states = saved(module, card, source)
    table = {kind.__name__: Counter() for kind in KINDS}
    tried = cases(source)
    if module is toy_gan_1d:
        tried = [tried[i] for i in np.random.default_rng(alone).permutation(len(tried))[:20]]
    for number, (kind, file, seed) in enumerate(tried):
        folder = linked_copy(source, tmp_path / "damaged")
        if alone:
            shutil.rmtree(folder / "3")
        kind(folder / file, np.random.default_rng((number, seed)))
        table[kind.__name__][outcome(folder, states)] += 1
    for name, counts in table.items():
        print(module.__name__, "alone" if alone else "two", name, dict(counts))
    assert not sum(counts["wrong"] for counts in table.values())
    assert not alone or not sum(counts["previous"] for counts in table.values())
