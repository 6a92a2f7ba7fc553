"""The feed: resident and streamed give the same batches in the same order, from any step on."""

import numpy as np
import pytest

from common.data.feed import ResidentFeed, StreamedFeed, evaluation_batches, open_feed
from common.data.order import batch_indices
from common.data.prepared import DataCard, Prepared, Split
from common.errors import UserError
from common.training import parallel
from common.training.config import default_config

NUM, BATCH = 21, 4


class Records(list):
    """What TFDS hands out: records by index."""

    def __getitems__(self, indices):
        return [self[i] for i in indices]


def make_split(num=NUM):
    return Split(
        Records(
            {"image": np.full((2, 2, 1), i, np.uint8), "label": i % 2, "id": b"x"}
            for i in range(num)
        )
    )


@pytest.fixture
def config():
    config = default_config()
    config.data.batch_size = BATCH
    return config


def labels_and_pixels(block):
    """What the step makes of a block, on the one device that the tests have."""
    rows = [np.asarray(block.indices)[0, i] for i in range(block.num_steps)]
    images = np.asarray(block.examples["image"])[0]
    labels = np.asarray(block.examples["label"])[0]
    return [(images[r][:, 0, 0, 0].tolist(), labels[r].tolist()) for r in rows]


@pytest.mark.parametrize("max_steps", [1, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_both_feeds_follow_the_order(config, monkeypatch, max_steps, shuffle):
    monkeypatch.setattr(parallel, "max_steps_per_dispatch", lambda: max_steps)
    config.data.shuffle = shuffle
    feeds = [ResidentFeed(config, make_split()), StreamedFeed(config, make_split())]
    for start, count in ((0, 1), (1, max_steps), (1 + max_steps, max_steps), (3, 1)):
        expected = [
            batch_indices(step, BATCH, config.seed, NUM, shuffle)
            for step in range(start, start + count)
        ]
        expected = [(e.tolist(), (e % 2).tolist()) for e in expected]
        for feed in feeds:
            assert labels_and_pixels(feed.block(start, count)) == expected


def test_blocks_have_one_shape_so_that_nothing_compiles_twice(config, monkeypatch):
    monkeypatch.setattr(parallel, "max_steps_per_dispatch", lambda: 5)
    for feed in (ResidentFeed(config, make_split()), StreamedFeed(config, make_split())):
        blocks = [feed.block(0, 5), feed.block(5, 2)]
        assert blocks[0].indices.shape == blocks[1].indices.shape
        assert blocks[0].examples["image"].shape == blocks[1].examples["image"].shape


def test_a_set_over_the_limit_is_streamed(config):
    card = DataCard("x", ("A", "B"), {"train": NUM}, 1024, 3, "f", False, 0)
    prepared = Prepared(card, {"train": make_split()})
    assert isinstance(open_feed(config, prepared), ResidentFeed)
    config.data.resident_limit_mb = 1
    assert isinstance(open_feed(config, prepared), StreamedFeed)


def test_evaluation_sees_every_example_once_and_masks_what_fills_the_last_batch():
    batches = list(evaluation_batches(make_split(), BATCH))
    assert len(batches) == 6
    masks = np.concatenate([np.asarray(b["valid"]).ravel() for b in batches])
    seen = np.concatenate([np.asarray(b["image"])[..., 0, 0, 0].ravel() for b in batches])
    assert masks.sum() == NUM
    assert seen[masks].tolist() == list(range(NUM))


def test_a_batch_that_does_not_divide_by_the_devices_is_refused(monkeypatch):
    monkeypatch.setattr(parallel.jax, "device_count", lambda: 8)
    with pytest.raises(UserError, match=r"batch_size=8"):
        parallel.local_batch_size(10)
    assert parallel.local_batch_size(16) == 16
