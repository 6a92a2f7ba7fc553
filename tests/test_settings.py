"""Every setting of every config: what is out of its range is refused in one sentence."""

import importlib
import math
import re

import pytest
from ml_collections import ConfigDict

from common.config.defaults import check
from common.config.tasks import rules_of
from common.inspect import command
from common.program.errors import UserError
from common.program.rules import read_duration, rule_of
from common.program.settings import flatten
from studies import config as study
from tests.conftest import ROOT

CONFIGS = sorted(file.stem for file in (ROOT / "configs").glob("*.py") if file.stem != "__init__")
NUMBERS = (-1, -0.5, 0, 0.5, 1, 2.5, 10**12, 10**40, 1e300, math.nan, math.inf, -math.inf)
HOSTILE = (*NUMBERS, "", "many", "-3", "nan", "9" * 30, None, True, [], [1], (0, -1))
# What is written is no number, nor a choice of few: whoever reads it says what is wrong.
FREE = re.compile(
    r"task|(.*\.)?data\.(name|dir|url|sha256|classes|only|mask_values|group|splits|held_out|window|cache_dir)"
    r"|(.*\.)?(train\.best_metric|quality\.extractor|loss\.name|loss\.class_weights)"
    r"|(.*\.)?model\.(name|weights|weights_sha256)|study\..*|(gan|classifier)\.task"
)


def config_of(name):
    return importlib.import_module(f"configs.{name}").get_config()


def rules_for(config):
    return rules_of(config.task)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_setting_has_a_rule_of_its_own_and_the_default_keeps_it(name):
    config = config_of(name)
    check(config, rules_for(config))
    for field, value in flatten(config):
        rule = rule_of(field, value, rules_for(config))
        assert rule is not rule_of(field, value, {}), f"{field} has no rule"
        assert rule.allowed != "text" or FREE.fullmatch(field), f"{field} may be any text"


def settings_of_all():
    """Yields each setting of each task once, with a config that has it."""
    seen = set()
    for name in CONFIGS:
        config = config_of(name)
        for field, value in flatten(config):
            if (config.task, field) not in seen and not FREE.fullmatch(field):
                seen.add((config.task, field))
                yield config, field, value


def is_sensible(value, default):
    """Says whether a value can stand for a default: of its kind, finite, no duration below 0."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, tuple | list) and all(is_sensible(x, 1) for x in value)
    if isinstance(default, int):
        return type(value) is int and 0 <= value < 2**32
    if isinstance(default, float):
        return type(value) in (int, float) and 0 <= value <= 1e38
    return isinstance(value, str) and (read_duration(value) or (math.inf,))[0] < 2**31


def test_a_hostile_value_is_refused_by_name_or_sensible():
    refused = 0
    for config, field, default in settings_of_all():
        for hostile in HOSTILE:
            part = ConfigDict()
            *sections, key = field.split(".")
            section = part
            for heading in sections:
                section[heading] = ConfigDict()
                section = section[heading]
            section[key] = hostile
            try:
                check(part, rules_for(config))
            except UserError as error:
                refused += 1
                assert re.match(rf"config\.{field}[. ].*; it must be .+\.$", str(error)), error
            else:
                assert is_sensible(hostile, default), f"{field} may be {hostile!r}"
    assert refused > 1000


@pytest.mark.parametrize("field", ["gan.optimizer.generator.learning_rate", "data.split_seed"])
def test_a_study_names_the_field_as_it_has_to_be_written(field):
    config = ConfigDict(config_of("utility_covid").to_dict())
    config.update_from_flattened_dict({field: -1})
    with pytest.raises(UserError, match=rf"config\.{field} is -1"):
        check(config, study.RULES)


def test_of_a_study_the_data_are_checked_where_they_are_inspected(monkeypatch):
    monkeypatch.setattr(command, "talk", lambda this_process: None)  # the log is all tests'
    config = ConfigDict(config_of("utility_covid").to_dict())
    config.data.image_size = 0
    with pytest.raises(UserError, match=r"config\.data\.image_size is 0"):
        command.run_inspect(config, "", "")
