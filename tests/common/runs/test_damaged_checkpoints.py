"""A damaged checkpoint is never used: the one before it is, and the log says so."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.program.errors import UserError
from common.runs.checkpoints import Checkpoints
from tests.damage import KINDS, deleted, emptied, flipped, linked_copy, truncated, unreadable

STEPS = (80, 100)
SCORES = {80: 0.25, 100: 0.75}


def state(step):
    rng = np.random.default_rng(step)
    return {
        "step": np.int32(step),
        "params": {
            "wide": rng.normal(size=(70, 130)).astype(np.float32),
            "zeros": np.zeros((40, 40), np.float32),  # which the library does not store
            "half": np.asarray(jnp.asarray(rng.normal(size=(9, 7)), jnp.bfloat16)),
        },
        "table": rng.integers(0, 255, (3, 5), np.uint8),
    }


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    with Checkpoints(folder, keep_last=2, best_metric="val/f1") as checkpoints:
        for step in STEPS:
            checkpoints.save(step, state(step), {"val/f1": SCORES[step], "val/loss": 1.0})
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    return linked_copy(sound, tmp_path / "checkpoints")


def files_of(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def data_file(checkpoint):
    """The largest file, which holds the arrays."""
    return max(files_of(checkpoint / "default"), key=lambda file: file.stat().st_size)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_the_newest_can_be_damaged(sound, tmp_path, kind):
    used = []
    for number, original in enumerate(files_of(sound / "100")):
        folder = linked_copy(sound, tmp_path / "checkpoints")
        kind(folder / original.relative_to(sound), np.random.default_rng(number))
        step, best = Checkpoints(folder, best_metric="val/f1").best(state(0))
        assert same(best, state(step))
        step = Checkpoints(folder).newest_sound_step(state(0))
        assert same(Checkpoints(folder).restore(step, state(0)), state(step))
        assert (folder / "damaged-100").exists() == (step == 80)
        used.append(step)
    assert set(used) == {80, 100}  # marks of success are nothing that anybody reads


def test_every_bit_of_the_arrays_counts(sound, tmp_path):
    wrong = 0
    for seed in range(12):
        folder = linked_copy(sound, tmp_path / "checkpoints")
        flipped(data_file(folder / "100"), np.random.default_rng(seed))
        step, found = Checkpoints(folder).best(state(0))
        wrong += not same(found, state(step))
    assert wrong == 0


def test_the_log_names_both_steps_and_the_reason_and_saving_goes_on(folder, caplog):
    flipped(data_file(folder / "100"), np.random.default_rng(3))
    with Checkpoints(folder, keep_last=2) as checkpoints:
        assert checkpoints.newest_sound_step(state(0)) == 80
        assert "step 100 is damaged (" in caplog.text and "resumes from step 80" in caplog.text
        checkpoints.save(100, state(100), {})
    assert Checkpoints(folder).steps() == [100, 80]
    assert same(Checkpoints(folder).restore(100, state(0)), state(100))
    assert (folder / "damaged-100" / "default").is_dir()  # nothing is lost


def test_a_second_damaged_one_has_a_place_of_its_own(folder):
    (folder / "damaged-100").mkdir()
    shutil.rmtree(folder / "100" / "default")
    assert Checkpoints(folder).newest_sound_step(state(0)) == 80
    assert (folder / "damaged-100-2" / "manifest").is_dir()


@pytest.mark.parametrize("older", [False, True])
def test_what_is_named_like_a_checkpoint_is_none(folder, caplog, older):
    empty, file = (60, 70) if older else (199, 200)
    (folder / str(empty)).mkdir()
    (folder / str(file)).write_text("a file")
    with Checkpoints(folder, keep_last=1) as checkpoints:
        assert checkpoints.newest_sound_step(state(0)) == 100
        checkpoints.save(120, state(120), {})
    assert Checkpoints(folder).steps() == [120]
    assert f"step {empty} is damaged" in caplog.text and f"step {file} is damaged" in caplog.text
    assert (folder / f"damaged-{file}").read_text() == "a file"


def test_a_renamed_checkpoint_is_not_of_its_name(folder):
    shutil.rmtree(folder / "100")
    (folder / "80").rename(folder / "100")
    with pytest.raises(UserError, match="it was saved at step 80"):
        Checkpoints(folder).newest_sound_step(state(0))


@pytest.mark.parametrize("damage", [truncated, emptied, deleted, unreadable])
def test_where_none_is_sound_the_sentence_says_what_to_do(folder, damage):
    for step in STEPS:
        damage(data_file(folder / str(step)), np.random.default_rng(step))
    before = sorted(folder.rglob("*"))
    for use in (Checkpoints(folder).newest_sound_step, Checkpoints(folder).best):
        with pytest.raises(UserError, match=r"step 100: .+; step 80: .+--restart"):
            use(state(0))
    assert sorted(folder.rglob("*")) == before


def test_reading_moves_nothing(folder, caplog):
    emptied(data_file(folder / "100"), np.random.default_rng())
    before = sorted(folder.rglob("*"))
    step, found = Checkpoints(folder, best_metric="val/f1").best(state(0))
    assert step == 80 and same(found, state(80)) and sorted(folder.rglob("*")) == before
    assert "step 100" in caplog.text and "that of step 80 is used" in caplog.text


def test_a_changed_metric_does_not_make_another_the_best(folder):
    file = folder / "80" / "manifest" / "manifest.json"
    content = file.read_text()
    assert "0.25" in content
    file.unlink()
    file.write_text(content.replace("0.25", "9.25"))
    with Checkpoints(folder, keep_last=1, best_metric="val/f1") as checkpoints:
        assert checkpoints.best(state(0))[0] == 100
        assert checkpoints.newest_sound_step(state(0)) == 100
        checkpoints.save(120, state(120), {"val/f1": 0.5})
    assert Checkpoints(folder).steps() == [120, 100]


def test_checkpoints_of_before_there_were_checksums_open(folder, caplog):
    for step in STEPS:
        shutil.rmtree(folder / str(step) / "manifest")
        file = folder / str(step) / "_CHECKPOINT_METADATA"
        metadata = json.loads(file.read_text())
        del metadata["item_handlers"]["manifest"]
        file.unlink()
        file.write_text(json.dumps(metadata))
        (folder / str(step) / "metrics").mkdir()
        (folder / str(step) / "metrics" / "metrics").write_text(json.dumps({"val/f1": 100 - step}))
    with caplog.at_level("INFO"):
        step, found = Checkpoints(folder, best_metric="val/f1").best(state(0))
    assert step == 80 and same(found, state(80)) and caplog.text.count("has no checksums") == 1


def test_a_manifest_that_is_gone_is_not_a_checkpoint_of_before(folder):
    shutil.rmtree(folder / "100" / "manifest")
    assert Checkpoints(folder).newest_sound_step(state(0)) == 80


def test_other_networks_are_not_damage(folder):
    other = {**state(0), "table": np.zeros((2, 2), np.uint8)}
    for use in (Checkpoints(folder).newest_sound_step, Checkpoints(folder).best):
        with pytest.raises(UserError, match=r"step 100 .+ belongs to other networks"):
            use(other)
