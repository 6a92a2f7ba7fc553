"""The feed: resident and streamed give the same batches in the same order, from any step on."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from common.data.prepared.prepared import DataCard, Prepared
from common.data.settings import DataSettings
from common.devices import processes
from common.program.accidents import told_in
from common.program.errors import UserError
from common.training import dispatch
from common.training.epochs import batch_indices
from common.training.feed import (
    Order,
    ResidentFeed,
    StreamedFeed,
    evaluation_batches,
    fits_on_device,
    open_feed,
)
from common.training.task import Batches
from tests.memory_split import split_of

NUM, BATCH, SEED = 21, 4, 3
BATCHES = Batches(1, BATCH)


def make_split(num=NUM):
    """Returns a split whose example i has the pixel i, in its mask and target, too."""
    return split_of(
        [
            {
                "image": np.full((2, 2, 1), i, np.uint8),
                "label": np.int32(i % 2),
                "mask": np.full((2, 2), i, np.uint8),
                "target": np.full((2, 2, 1), i, np.uint8),
            }
            for i in range(num)
        ]
    )


def order_of(split, *, shuffle=True):
    return Order(split, BATCHES, [SEED], shuffle=shuffle)


def batches_of(block):
    """What the steps make of a block, on the one device that the tests have."""
    examples = {name: np.asarray(rows)[0] for name, rows in block.examples.items()}
    indices = np.asarray(block.indices)[0, : block.num_steps]
    return [{name: rows[index.ravel()] for name, rows in examples.items()} for index in indices]


@pytest.mark.parametrize("max_steps", [1, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_both_feeds_follow_the_order_with_masks_and_targets(monkeypatch, max_steps, shuffle):
    monkeypatch.setattr(dispatch, "max_steps_per_dispatch", lambda: max_steps)
    split = make_split()
    order = order_of(split, shuffle=shuffle)
    feeds = [ResidentFeed(order), StreamedFeed(order)]
    for start, count in ((0, 1), (1, max_steps), (1 + max_steps, max_steps), (3, 1)):
        steps = range(start, start + count)
        orders = [batch_indices(step, BATCH, SEED, NUM, shuffle) for step in steps]
        for feed in feeds:
            for batch, order in zip(batches_of(feed.block(start, count)), orders, strict=True):
                expected = split.read(order.tolist())
                assert batch.keys() == expected.keys() == {"image", "label", "mask", "target"}
                for name, rows in expected.items():
                    np.testing.assert_array_equal(batch[name], rows)


def test_a_stream_starts_once_however_far_it_is_read(monkeypatch):
    opened = []
    start = StreamedFeed._open
    monkeypatch.setattr(
        StreamedFeed, "_open", lambda feed, step: opened.append(step) or start(feed, step)
    )
    feed = StreamedFeed(order_of(make_split()))
    feed.example_block()  # the loop compiles for it
    for step in range(7, 20):  # a restored run
        feed.block(step, 1)
    assert opened == [7]


def test_blocks_have_one_shape_so_that_nothing_compiles_twice(monkeypatch):
    monkeypatch.setattr(dispatch, "max_steps_per_dispatch", lambda: 5)
    for feed in (
        ResidentFeed(order_of(make_split())),
        StreamedFeed(order_of(make_split())),
    ):
        shapes = [
            jax.tree.map(np.shape, (block.examples, block.indices))
            for block in (feed.example_block(), feed.block(0, 5), feed.block(5, 2))
        ]
        assert shapes[0] == shapes[1] == shapes[2]


def test_a_set_over_the_limit_is_streamed():
    card = DataCard("x", ("A", "B"), {"train": NUM}, 2, 1, "f", False, 0)
    prepared = Prepared(card, {"train": make_split()})
    assert isinstance(open_feed(DataSettings(), prepared, BATCHES, [SEED]), ResidentFeed)
    none = DataSettings(resident_limit_mb=0)
    assert isinstance(open_feed(none, prepared, BATCHES, [SEED]), StreamedFeed)


@pytest.mark.parametrize("more", [None, "mask", "target", "features"])
def test_all_that_an_example_has_counts_towards_the_limit(more):
    example = {"image": np.zeros((512, 512, 1), np.uint8), "label": np.int32(0)}
    if more:
        example[more] = np.zeros((256, 256), np.float32)
    split = split_of([example] * 3)
    assert fits_on_device(split, limit_mb=1) == (more is None)


def test_evaluation_sees_every_example_once_and_masks_what_fills_the_last_batch():
    batches = list(evaluation_batches(make_split(), BATCH))
    assert len(batches) == 6
    masks = np.concatenate([np.asarray(b["valid"]).ravel() for b in batches])
    seen = np.concatenate([np.asarray(b["image"])[..., 0, 0, 0].ravel() for b in batches])
    assert masks.sum() == NUM
    assert seen[masks].tolist() == list(range(NUM))


def test_a_batch_that_does_not_divide_by_the_devices_is_refused(monkeypatch):
    monkeypatch.setattr(processes.jax, "device_count", lambda: 8)
    with pytest.raises(UserError, match=r"batch_size=8"):
        processes.local_batch_size(10)
    with pytest.raises(UserError, match="accumulate leaves 6 images in each part"):
        processes.local_batch_size(6, is_part=True)
    assert processes.local_batch_size(16) == 16


def test_what_a_reading_thread_meets_is_told_as_it_was_raised(monkeypatch, tmp_path):
    split = make_split()
    feed = StreamedFeed(order_of(split))
    read = type(split).read

    def failing(self, indices):
        if 20 in indices:
            raise UserError("The prepared set x is damaged.")
        return read(self, indices)

    monkeypatch.setattr(type(split), "read", failing)
    with pytest.raises(UserError, match="The prepared set x is damaged"), told_in(tmp_path):
        for step in range(2 * NUM):
            feed.block(step, 1)


class TestBalanced:
    def feed(self, labels):
        settings = DataSettings(balance=True, batch_size=BATCH)
        split = replace(make_split(), labels=labels)
        prepared = Prepared(DataCard("x", ("a", "b"), {}, 2, 1, "", False, 0), {"train": split})
        return open_feed(settings, prepared, BATCHES, [SEED])

    def test_a_batch_has_as_many_images_of_each_class(self):
        rare = (1,) * 3 + (0,) * (NUM - 3)
        for batch in batches_of(self.feed(rare).block(5, 1)):
            assert (batch["image"][:, 0, 0, 0] < 3).sum() == BATCH // 2

    def test_one_class_is_refused(self):
        with pytest.raises(UserError, match="balance is on, but all training images are of one"):
            self.feed((0,) * NUM)
