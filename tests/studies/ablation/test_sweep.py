"""What an ablation varies: arms and repetitions from files and from the command line."""

from dataclasses import replace

import numpy as np
import pytest
from ml_collections import ConfigDict

from common.config.defaults import check
from common.config.tasks import rules_of
from common.program.errors import UserError
from common.program.settings import to_json
from configs import (
    ablate_chest_xray_recipe,
    ablate_covid_recipe,
    ablate_few_images,
    ablate_few_images_best,
    ablate_few_labels,
    ablate_few_patients,
    ablate_gan_losses,
    ablate_lgg_recipe,
)
from studies.ablation.sweep import Place, Sweep, config_of, folder_of, places, read_sweep
from tests.compile_step import check_step

CONFIG = ConfigDict(
    {
        "seed": 0,
        "data": {"fold": 0, "folds": 0},
        "loss": {"name": "hinge", "weight": 1.0},
        "model": {"on": True, "widths": (8, 4)},
    }
).lock()
FILE = """
from studies.ablation.sweep import Sweep
def sweep():
    return Sweep({"a": {}, "b": {"loss.weight": 2.0}}, seeds=(5, 6))
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_a_config_file_names_arms_and_seeds(file):
    sweep = read_sweep(file, CONFIG, ())
    assert list(sweep.arms) == ["a", "b"]
    found = [(place.arm, place.seed, place.fold) for place in places(sweep)]
    assert found == [("a", 5, None), ("b", 5, None), ("a", 6, None), ("b", 6, None)]
    config = config_of(Place("b", 6, None), sweep, CONFIG)
    assert (config.loss.weight, config.seed, CONFIG.loss.weight) == (2.0, 6, 1.0)


def test_factors_are_crossed_and_typed_as_their_settings(file):
    factors = ("loss.name=hinge, lsgan", "config.model.on=true,false", "seed=0..2")
    sweep = read_sweep(file, CONFIG, factors)
    assert list(sweep.arms) == [
        f"loss.name={name}, model.on={on}" for name in ("hinge", "lsgan") for on in (True, False)
    ]
    assert sweep.seeds == (0, 1, 2) and len(places(sweep)) == 12
    settings = sweep.arms["loss.name=lsgan, model.on=False"]
    assert settings == {"loss.name": "lsgan", "model.on": False}


def test_seeds_and_folds_alone_keep_the_arms_of_the_file(file):
    sweep = read_sweep(file, CONFIG, ("seed=1", "data.fold=0..2"))
    assert list(sweep.arms) == ["a", "b"] and len(places(sweep)) == 6
    assert folder_of(Place("b", 1, 2), sweep) == "b/seed1_fold2"
    assert config_of(Place("b", 1, 2), sweep, CONFIG).data.fold == 2


def test_names_of_arms_may_be_any_text():
    sweep = Sweep({"../x": {}, "CON": {}, "1/2": {}})
    names = [folder_of(Place(arm, 0, None), sweep) for arm in sweep.arms]
    assert names == ["%2E.%2Fx/seed0", "%43ON/seed0", "1%2F2/seed0"]


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        ("loss.nam=a", "Did you mean 'loss.name'"),
        ("loss.name", "names no values"),
        ("loss.name=", "names no values"),
        ("loss.name=a,a", "each value once"),
        ("loss.weight=high", "must be like 1.0"),
        ("model.on=maybe", "must be like True"),
        ("model.widths=8", "is a list"),
        ("seed=0..20000", "at most 10,000"),
    ],
)
def test_an_invalid_factor_is_refused_in_a_sentence(file, factor, said):
    with pytest.raises(UserError, match=said):
        read_sweep(file, CONFIG, (factor,))


def test_what_varies_nothing_is_refused(tmp_path):
    plain = tmp_path / "plain.py"
    plain.write_text("")
    with pytest.raises(UserError, match="says nothing to vary"):
        read_sweep(plain, CONFIG, ())
    assert read_sweep(plain, CONFIG, ("seed=0..4",)).seeds == (0, 1, 2, 3, 4)


def test_an_arm_may_replace_a_section_by_one_of_other_settings():
    sweep = Sweep({"a": {"model": {"depth": 3}, "model.depth": 4}, "b": {}})
    assert config_of(Place("a", 0, None), sweep, CONFIG).model.to_dict() == {"depth": 4}
    assert config_of(Place("b", 0, None), sweep, CONFIG).model == CONFIG.model
    for name in ("modle", "loss.name", "no.such"):
        with pytest.raises(UserError, match=f"config.{name}, which is no section"):
            config_of(Place("a", 0, None), Sweep({"a": {name: {}}}), CONFIG)


def test_a_sweep_may_depend_on_the_argument_of_its_config(file):
    assert list(read_sweep(file, CONFIG, (), "tiny").arms) == ["a", "b"]
    file.write_text(FILE.replace("sweep()", "sweep(arg)").replace('"a"', "arg"))
    assert list(read_sweep(file, CONFIG, (), "tiny").arms) == ["tiny", "b"]


def test_an_arm_sets_only_settings_that_there_are():
    for settings, said in (({"loss.nme": 1}, "Did you mean"), ({"seed": "x"}, "must be like 0")):
        sweep = Sweep({"a": settings} if "seed" not in settings else {"a": {"loss.weight": "x"}})
        with pytest.raises(UserError, match=said.replace("0", "1.0")):
            config_of(Place("a", 0, None), sweep, CONFIG)


def test_the_example_compares_five_losses():
    sweep, config = ablate_gan_losses.sweep(), ablate_gan_losses.get_config()
    losses = {config_of(place, sweep, config).loss.name for place in places(sweep)}
    assert len(losses) == 5 and sweep.seeds == (0, 1, 2)


def test_a_function_gives_the_value_for_a_seed():
    sweep = Sweep({"a": {"loss.name": lambda seed: f"loss {seed}"}})
    assert config_of(Place("a", 2, None), sweep, CONFIG).loss.name == "loss 2"


class TestFewLabels:
    @pytest.mark.parametrize("arm", ["from scratch", "K+1 classes"])
    def test_an_arm_is_a_run(self, arm):
        sweep, config = ablate_few_labels.sweep("tiny"), ablate_few_labels.get_config("tiny")
        check_step(config_of(Place(arm, 0, None), sweep, config))

    def test_all_learn_from_the_same_labels(self):
        sweep, config = ablate_few_labels.sweep(), ablate_few_labels.get_config()
        config.data.update(dir="X", labels_per_class=10)
        for place in places(sweep):
            own = config_of(place, sweep, config)
            check(own, rules_of(own.task))
            labelled = own.data.dir, own.data.labels_per_class, own.data.labels_seed
            assert labelled == ("X", 10, place.seed)
            assert (own.task == "gan") == (place.arm == "K+1 classes")
            before = place.arm in ("GAN features", "pretraining")
            assert own.train.init_from.endswith(f"seed{place.seed}" if before else "")


@pytest.mark.parametrize(
    ("recipes", "task"),
    [
        (ablate_covid_recipe, "classify"),
        (ablate_chest_xray_recipe, "classify"),
        (ablate_lgg_recipe, "unet"),
    ],
)
def test_recipes_are_valid_and_differ_and_hold_out_each_image_once(recipes, task):
    sweep, config = recipes.sweep(), recipes.get_config()
    own = [config_of(place, sweep, config) for place in places(sweep)]
    assert len(set(map(to_json, own))) == 5 * len(sweep.arms)
    assert {(one.data.folds, one.data.fold) for one in own} == {(5, n) for n in range(5)}
    for one in own:
        check(one, rules_of(task))


def test_few_patients_are_the_same_for_all_networks():
    sweep, config = ablate_few_patients.sweep(), ablate_few_patients.get_config("tiny")
    own = [config_of(Place(arm, 3, None), sweep, config) for arm in sweep.arms]
    for one in own:
        check(one, rules_of("unet"))
        assert (one.data.labels_seed, one.data.labelled_patients) == (3, 4)
    check_step(own[0])


class TestFewImages:
    @pytest.mark.slow  # tests/test_configs.py and tests of each part make a step of each
    @pytest.mark.parametrize("arm", ablate_few_images.sweep("tiny").arms)
    def test_an_arm_is_a_run(self, arm):
        sweep, config = ablate_few_images.sweep("tiny"), ablate_few_images.get_config("tiny")
        check_step(config_of(Place(arm, 0, None), sweep, config))

    def test_an_arm_of_the_best_is_a_run(self):
        sweep, config = ablate_few_images_best.sweep(), ablate_few_images_best.get_config("tiny")
        check_step(config_of(Place("+ ReACGAN", 0, None), sweep, config))

    @pytest.mark.parametrize("file", [ablate_few_images, ablate_few_images_best])
    def test_arms_are_valid_and_differ(self, file):
        sweep, config = file.sweep(), file.get_config()
        own = [config_of(place, sweep, config) for place in places(replace(sweep, seeds=(0,)))]
        assert len(set(map(to_json, own))) == len(sweep.arms)
        for one in own:
            check(one, rules_of("gan"))

    def test_networks_train_for_the_same_time(self):
        arms = ablate_few_images.sweep().arms
        times = [
            int(arms[arm]["train.num_steps"]) * milliseconds
            for arm, milliseconds in ablate_few_images.MILLISECONDS.items()
        ]
        np.testing.assert_allclose(times, times[0], rtol=0.01)
