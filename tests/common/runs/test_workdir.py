"""A run that was made before a setting existed can be used, and gone on with."""

import dataclasses
import json

import pytest

from common.config.defaults import check
from common.config.tasks import rules_of
from common.data.prepared.prepared import DataCard
from common.program.errors import RetrainError, UserError
from common.program.settings import flatten, from_fields, to_json
from common.runs.workdir import Run, advised, check_data, check_owner, claim, open_run
from common.training.task import make_task
from configs import acgan_covid, unet_brain_mri, vgg16_covid

CARD = DataCard("test", ("A", "B"), {"train": 8}, 64, 1, "0", False, 0, class_counts=(4, 4))
NEWER = {"classify": "cached_views", "unet": "input", "gan": "latent"}


@pytest.mark.parametrize("module", [acgan_covid, unet_brain_mri, vgg16_covid])
def test_settings_that_came_later_have_their_defaults(tmp_path, module):
    config = module.get_config("tiny")
    name = NEWER[config.task]
    older = json.loads(to_json(config))
    default = older["model"].pop(name)
    (tmp_path / "config.json").write_text(json.dumps(older))
    data = config.data
    card = dataclasses.replace(CARD, image_size=data.image_size, channels=data.channels)
    (tmp_path / "run.json").write_text(json.dumps({"data": card.to_dict()}))
    assert open_run(tmp_path).config.model[name] == default
    check_owner(tmp_path, config)
    config.train.low_memory = not config.train.low_memory
    check_owner(tmp_path, config)
    config.data.batch_size *= 2
    with pytest.raises(UserError, match=r"differs in data\.batch_size"):
        check_owner(tmp_path, config)


def test_an_older_run_divides_copies_as_it_did(tmp_path):
    config = acgan_covid.get_config("tiny")
    older = json.loads(to_json(config))
    del older["data"]["copies"]
    (tmp_path / "config.json").write_text(json.dumps(older))
    card = dataclasses.replace(CARD, image_size=config.data.image_size)
    (tmp_path / "run.json").write_text(json.dumps({"data": card.to_dict()}))
    assert config.data.copies == "group"
    assert open_run(tmp_path).config.data.copies == "keep"
    check_owner(tmp_path, config)
    divided = dataclasses.replace(card, fingerprint="1")  # otherwise, with copies together
    with pytest.raises(UserError, match=r"has changed .* try --config\.data\.copies=keep\)"):
        check_data(Run(tmp_path, config, divided))


@pytest.mark.parametrize(
    ("field", "value", "opened"),
    [
        ("train.num_steps", "2.5", "3"),
        ("train.eval_every", " 1.2 steps", "2"),
        ("train.checkpoint_minutes", -1.0, -1.0),
        ("optimizer.generator.learning_rate", -1e-3, -1e-3),
        ("optimizer.discriminator.epsilon", 0.0, 0.0),
        ("data.split_seed", -1, -1),
        ("data.resident_limit_mb", -1, -1),
    ],
)
def test_a_run_of_a_version_with_fewer_rules_is_opened_and_trains_no_more(
    tmp_path, caplog, field, value, opened
):
    config = acgan_covid.get_config("tiny")
    check(config, rules_of("gan"))
    config.update_from_flattened_dict({field: value})
    card = dataclasses.replace(CARD, image_size=config.data.image_size)
    claim(Run(tmp_path, config, card))
    with caplog.at_level("WARNING"):
        run = open_run(tmp_path)
    assert dict(flatten(run.config))[field] == opened
    assert f"config.{field} is" in caplog.text and "new run would be refused" in caplog.text
    make_task(run.config, card)
    with pytest.raises(UserError, match=f"config.{field} is"):
        check(config, rules_of("gan"))


def test_a_run_finds_its_data_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = acgan_covid.get_config("tiny")
    config.data.update(dir="scans", cache_dir="cache")
    claim(Run(tmp_path, config, CARD))
    written = from_fields(json.loads((tmp_path / "config.json").read_text())).data
    assert (written.dir, written.cache_dir) == (str(tmp_path / "scans"), str(tmp_path / "cache"))
    assert check_owner(tmp_path, config) == {}
    config.data.update(dir="", cache_dir="gs://bucket/cache")
    claim(Run(tmp_path, config, CARD))
    written = from_fields(json.loads((tmp_path / "config.json").read_text())).data
    assert (written.dir, written.cache_dir) == ("", "gs://bucket/cache")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            UserError("scans is not there; check --config.data.dir."),
            r"check --config\.data\.dir \(--mode=evaluate takes no --config: set it in .*json",
        ),
        (RetrainError("hold some out: train with --config.data.splits=70,15,15."), r"15\.$"),
        (UserError("--threshold is -1."), r"^--threshold is -1\.$"),
    ],
)
def test_a_mode_that_takes_no_config_says_where_a_setting_stands(tmp_path, error, told):
    with pytest.raises(UserError, match=told), advised(tmp_path, "evaluate"):
        raise error
