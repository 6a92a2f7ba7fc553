"""A run that was made before a setting existed can be used, and gone on with."""

import dataclasses
import json

import pytest

from common.data.prepared import DataCard
from common.errors import UserError
from common.training.config import from_fields, to_json
from common.training.workdir import Run, advised, check_owner, claim, open_run
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
    ("said", "told"),
    [
        (
            "scans is not there; check --config.data.dir.",
            r"check --config\.data\.dir \(--mode=evaluate takes no --config: set it in .*json",
        ),
        ("hold some out: train with --config.data.splits=70,15,15.", r"15\.$"),
        ("--threshold is -1.", r"^--threshold is -1\.$"),
    ],
)
def test_a_mode_that_takes_no_config_says_where_a_setting_stands(tmp_path, said, told):
    with pytest.raises(UserError, match=told), advised(tmp_path, "evaluate"):
        raise UserError(said)
