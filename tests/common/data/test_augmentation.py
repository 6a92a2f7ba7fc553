"""Specification of `config.augment`: everything off by default, nonsense refused by name."""

import pytest

from common.config.defaults import RULES, check, default_config
from common.data.augmentation import Augmentation
from common.program.errors import UserError


def test_every_experiment_has_the_section_with_everything_off():
    config = default_config()
    check(config, RULES)
    settings = Augmentation(**config.augment)
    assert settings == Augmentation()
    assert not settings.moves_pixels
    assert not settings.changes_values


@pytest.mark.parametrize(
    "name",
    ["flip_horizontal", "flip_vertical", "rotation", "translation", "zoom", "crop", "elastic"],
)
def test_each_change_of_geometry_alone_moves_pixels(name):
    section = Augmentation().section
    section[name] = True if name.startswith("flip") else 0.05
    assert Augmentation(**section).moves_pixels
    assert not Augmentation(**section).changes_values


@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma"])
def test_changes_of_values_move_none(name):
    settings = Augmentation(**{name: 0.1})
    assert settings.changes_values
    assert not settings.moves_pixels


def test_a_whole_number_is_as_good_as_a_float():
    section = Augmentation().section
    section.rotation = 10
    assert Augmentation(**section).rotation == 10.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotation", 181.0),
        ("rotation", -10.0),
        ("translation", 0.6),
        ("zoom", 1.0),
        ("crop", 1.0),
        ("elastic", 2.0),
        ("brightness", float("nan")),
        ("contrast", float("inf")),
        ("gamma", -0.1),
        ("fill", "white"),
    ],
)
def test_amounts_that_mean_nothing_are_refused_by_name(name, value):
    config = default_config()
    config.augment[name] = value
    with pytest.raises(UserError, match=rf"config\.augment\.{name} is .*; it must"):
        check(config, RULES)


def test_a_run_refuses_them_before_anything_is_read():
    config = default_config()
    config.augment.rotation = -10.0
    with pytest.raises(UserError, match="augment"):
        check(config, RULES)
