"""A run keeps what its training images are like, and says of new ones how far they lie outside."""

import re

import numpy as np
import pytest

from common.data.prepared.prepared import prepare
from common.program.errors import UserError
from common.runs.workdir import Run
from common.unlike.run import (
    FILE,
    Unlike,
    distance_of,
    distances_of,
    keep_reference,
    known_reference,
    unlike_sentence,
)
from configs.unet_brain_mri import get_config


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run that keeps what drawings of brains are like, and the drawings."""
    config = get_config("tiny").unlock()
    config.data.update(num_phantoms=200, image_size=32)
    prepared = prepare(config.data)
    run = Run(tmp_path_factory.mktemp("run"), config.lock(), prepared.card)
    keep_reference(run, prepared)
    return run, prepared


def test_drawings_of_the_same_kind_are_inside_and_noise_is_outside(kept):
    run, prepared = kept
    reference = known_reference(run)
    own = distances_of(reference, prepared.splits["test"])
    assert (own > 1).sum() <= 4  # of 50: 4 % are expected, and so few vary
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for image in (noise, np.zeros_like(noise), np.full_like(noise, 128)):
        assert distance_of(reference, image) > 1.5


def test_it_is_kept_once_and_made_anew_for_other_data(kept):
    run, prepared = kept
    file = run.workdir / FILE
    before = file.read_bytes(), file.stat().st_mtime_ns
    keep_reference(run, prepared)
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    file.write_bytes(before[0][:-1])
    keep_reference(run, prepared)
    assert file.read_bytes() == before[0]
    other = type(run.card).from_dict({**run.card.to_dict(), "fingerprint": "other"})
    keep_reference(Run(run.workdir, run.config, other), prepared)
    assert file.read_bytes() != before[0]


def test_a_damaged_file_is_named_and_what_to_do(kept):
    run, _ = kept
    file = run.workdir / FILE
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole[:100] + b"\0" + whole[101:], whole + b"\0"):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{FILE} is damaged; remove it"):
            known_reference(run)
    file.write_bytes(whole)


def test_an_older_run_says_in_a_sentence_that_nothing_is_known(kept, caplog):
    run, prepared = kept
    file = run.workdir / FILE
    moved = file.rename(file.with_name("elsewhere"))
    reference = known_reference(run)
    moved.rename(file)
    assert reference is None and f"has no {FILE}" in caplog.text
    found = distances_of(reference, prepared.splits["test"])
    assert np.isnan(found).all() and Unlike.of(found) is None
    assert "unknown" in unlike_sentence(None)


@pytest.mark.parametrize(
    ("distances", "said"),
    [
        ([3.0] * 37 + [0.5] * 3, "37 of 40 images lie outside .* median is 3.00.* with care"),
        ([2.0], "1 of 1 image lies outside .* with care"),
        ([1.2] + [0.5] * 39, "1 of 40 images lie outside .*, as expected for images like those"),
        ([0.5] * 3, "0 of 3 images lie outside"),
    ],
)
def test_a_sentence_says_how_many_are_outside(distances, said):
    facts = Unlike.of(distances)
    assert facts.outside == sum(x > 1 for x in distances)
    assert re.search(said, unlike_sentence(facts))
