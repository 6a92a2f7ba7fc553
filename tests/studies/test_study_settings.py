"""A study's settings: those of its runs, those of before there was one, and what each takes."""

import json

import pytest
from ml_collections import ConfigDict

from common.config.usage import settings_text
from common.program.errors import UserError
from common.program.settings import to_json
from common.runs.workdir import check_owner
from configs.utility_covid import get_config
from studies.config import run_config


def test_a_run_of_a_study_holds_out_no_more_than_the_study_did():
    config = ConfigDict(get_config("tiny").to_dict())
    config.data.update(held_out="15,15", splits="70,15,15", copies="drop")
    data = run_config(config.gan, config.data, 0).data
    assert (data.held_out, data.splits, data.copies) == ("", "", "keep")


def test_a_study_that_began_before_there_was_a_setting_goes_on(tmp_path):
    config = get_config("tiny")
    fields = json.loads(to_json(config))
    del fields["data"]["held_out"], fields["data"]["copies"], fields["gan"]["train"]["low_memory"]
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert check_owner(tmp_path, config) == {}
    fields["data"]["split_seed"] = 7
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match=r"split_seed \(7 there, 0 now\); choose another") as raised:
        check_owner(tmp_path, config)
    assert "--allow_config_change" not in str(raised.value)  # which no study takes


def test_settings_of_a_study_are_described_like_those_of_its_runs():
    text = settings_text(get_config())
    assert "-2147483648" not in text
    assert "number above 0" in next(
        x for x in text.split("\n") if "gan.optimizer.generator.le" in x
    )
