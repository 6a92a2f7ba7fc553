"""Every setting of every config: what is out of its range is refused in one sentence."""

import importlib
import math
import re

import pytest
from ml_collections import ConfigDict

from classify.config import ClassifierSettings
from common.config.defaults import check
from common.config.tasks import rules_of
from common.inspect import command
from common.program.errors import UserError
from common.program.rules import read_duration, rule_of
from common.program.settings import flatten, to_json
from gan.config import GANSettings
from pretrain.config import PretrainSettings
from studies import config as study
from tests.conftest import ROOT
from translate.config import TranslateSettings
from unet.config import UNetSettings

CONFIGS = sorted(file.stem for file in (ROOT / "configs").glob("*.py") if file.stem != "__init__")
KINDS = {
    "gan": GANSettings,
    "unet": UNetSettings,
    "classify": ClassifierSettings,
    "translate": TranslateSettings,
    "pretrain": PretrainSettings,
}
NUMBERS = (-1, -0.5, 0, 0.5, 1, 2.5, 10**12, 10**40, 1e300, math.nan, math.inf, -math.inf)
HOSTILE = (*NUMBERS, "", "many", "-3", "nan", "9" * 30, None, True, [], [1], (0, -1))
# What is written is no number, nor a choice of few: whoever reads it says what is wrong.
FREE = re.compile(
    r"task|(.*\.)?data\.(name|dir|unlabelled_dir|url|sha256|classes|only|mask_values|group|splits|held_out|window|cache_dir|take)"
    r"|(.*\.)?(train\.(best_metric|init_from|trackers)|quality\.extractor|loss\.name|loss\.class_weights)"
    r"|(.*\.)?model\.(name|weights|weights_sha256)|(.*\.)?optimizer\.\w+\.freeze|study\..*|(gan|classifier)\.task"
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


@pytest.mark.parametrize("name", [name for name in CONFIGS if config_of(name).task in KINDS])
def test_what_is_read_of_a_config_is_all_that_it_says(name):
    config = config_of(name)
    assert to_json(KINDS[config.task].of(config).section) == to_json(config)


def test_settings_that_were_read_stay_as_they_are():
    config = config_of("acgan_covid")
    settings = GANSettings.of(config)
    expected = settings.section
    config.model.generator.latent_size += 1
    config.optimizer.discriminator.beta1 = 0.0
    assert settings.section == expected != GANSettings.of(config).section


def test_a_section_keeps_defaults_and_passes_over_what_it_does_not_know():
    settings = GANSettings.of({"optimizer": {"generator": {"beta2": 0.9}}, "new": {"x": 1}})
    assert settings.optimizer.generator.beta2 == 0.9
    assert settings.optimizer.generator.learning_rate == 2e-4  # of a GAN's, not of any optimizer
    assert settings.data == GANSettings().data


def test_a_whole_number_is_taken_for_a_fraction_as_a_file_may_have_it():
    settings = GANSettings.of({"optimizer": {"generator": {"clip": 1}}})
    assert type(settings.optimizer.generator.clip) is float


def test_what_the_loss_of_a_gan_does_not_know_is_the_weight_of_a_term():
    settings = GANSettings.of({"loss": {"name": "hinge", "r1": 1.0, "sharpness": 0.5}})
    assert settings.loss.terms["r1"] == 1.0 and settings.loss.terms["sharpness"] == 0.5
    assert "terms" not in settings.section.loss and settings.section.loss.sharpness == 0.5
