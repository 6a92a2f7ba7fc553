"""What a plan computes from a compiled program: by hand."""

import math

import pytest

from common.devices.chips import CHIPS, Chip
from common.devices.exchanged import Exchange, exchanges_of, total_sent
from studies.plan.estimate import (
    Compiled,
    batch_for_few_exchanges,
    bound_of,
    largest_batch,
)

CHIP = Chip(1000.0, 100.0, 2e3, 1e3, 50.0, "made up")


def compiled(batch=4, temporaries=100, **changes):
    fields = {
        "program": "train_step",
        "hardware": "made up",
        "chips": 4,
        "seconds": 1.0,
        "arguments": 200,
        "code": 100,
        "operations": 4e3,
        "traffic": 100.0,
        "operations_by": "XLA",
        "exchanges": (Exchange("all-reduce", 100, 2), Exchange("all-gather", 80, 1)),
    }
    return Compiled(batch=batch, temporaries=temporaries, **{**fields, **changes})


def test_exchanges_are_read_from_a_compiled_program():
    text = """
  %psum.1 = f32[2,256]{1,0:T(2,128)S(1)} all-reduce(%x), channel_id=1
  %all-reduce.2 = (f32[1,784,512]{2,1,0}, /*index=1*/bf16[3]{0}, pred[5]{0}) all-reduce(%a, %b, %c)
  %get-tuple-element.3 = f32[1,784,512]{2,1,0} get-tuple-element(%all-reduce.2), index=0
  %ag = (f32[2,8]{1,0}, f32[8,8]{1,0}) all-gather-start(%y), dimensions={0}
  %done = f32[8,8]{1,0} all-gather-done(%ag)
  %ar = ((f32[257]{0}), f32[257]{0}) all-reduce-start(%c), channel_id=1
  %both = ((f32[3]{0}, s8[5]{0}), (f32[3]{0}, s8[5]{0})) all-reduce-start(%d, %e), channel_id=1
  %done.2 = f32[257]{0} all-reduce-done(%ar)
  %ag.2 = ((f32[1,256]{1,0}), f32[8,256]{1,0}) all-gather-start(%f), dimensions={0}
  %cp = s32[] collective-permute(%z)
  %part.1 = f32[8,3]{1,0} all-gather(%p), frontend_attributes={chain_id="0"}, channel_id=1
  %part.2 = f32[8,3]{1,0} all-gather(%p), frontend_attributes={chain_id="0"}, channel_id=1
"""
    assert exchanges_of(text) == [
        Exchange("all-reduce", 2 * 256 * 4, 1),
        Exchange("all-reduce", 784 * 512 * 4 + 6 + 5, 3),
        Exchange("all-gather", 256, 1),
        Exchange("all-reduce", 257 * 4, 1),
        Exchange("all-reduce", 3 * 4 + 5, 2),
        Exchange("all-gather", 8 * 256 * 4, 1),
        Exchange("collective-permute", 4, 1),
        Exchange("all-gather", 96, 1),  # in two parts
    ]


def test_a_ring_sends_an_all_reduce_almost_twice():
    exchanges = compiled().exchanges
    assert total_sent(exchanges, 1) == 0
    assert total_sent(exchanges, 4) == 2 * 3 / 4 * 100 + 3 / 4 * 80


def test_the_least_time_is_the_longer_of_both_plus_the_exchanges():
    bound = bound_of(compiled(), CHIP, "float32", 4)
    assert (bound.computing, bound.memory, bound.links) == (4.0, 1.0, 210 / 50)
    assert bound.seconds == 4.0 + 4.2 and bound.efficiency == 4 / 8.2
    assert bound_of(compiled(), CHIP, "bfloat16", 1).seconds == 2.0
    unknown = bound_of(compiled(traffic=math.nan), CHIP, "float32", 1)
    assert unknown.of_chip == 4.0


def test_exchanges_take_a_tenth_at_the_batch_that_is_named():
    def grown(batch):
        return compiled(batch, operations=2e3 + 5e2 * batch)

    batch = batch_for_few_exchanges([grown(4), grown(8)], CHIP, "float32", 64)
    assert 0.9 <= bound_of(grown(batch), CHIP, "float32", 64).efficiency < 0.91
    assert batch_for_few_exchanges([grown(400), grown(800)], CHIP, "float32", 64) == 400
    assert batch_for_few_exchanges([compiled(4), compiled(8)], CHIP, "float32", 64) is None


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(400, 4), (1000, 16), (5000, 128), (300, 0)],  # 300 bytes and 25 for each image
)
def test_the_largest_batch_lies_on_the_line_through_two(memory, expected):
    chip = Chip(float(memory), 1.0, 1.0, 1.0, 1.0, "")
    pair = [compiled(16, 400), compiled(4, 100)]
    assert largest_batch(pair, chip) == expected
    assert largest_batch([compiled(4), compiled(8)], Chip(1e4, 1.0, 1.0, 1.0, 1.0, "")) is None


def test_published_figures_are_those_of_their_pages():
    """HBM and bandwidth of a v5e, and both directions of its links: 16 GB, 819 GB/s, 400 GB/s."""
    v5e = CHIPS["v5e"]
    assert (v5e.memory, v5e.bandwidth, v5e.links) == (16 * 2**30, 819e9, 200e9)
    assert v5e.rate("float32") == v5e.rate("bfloat16") == 197e12
    assert CHIPS["h100"].rate("bfloat16") == 2 * CHIPS["h100"].rate("float32")
