"""A run whose files were damaged since is refused with one sentence that names the file."""

import copy
import json
import random
import shutil

import pytest

from common.data.prepared.prepared import DataCard
from common.program.errors import UserError
from common.runs.evaluation import EVALUATION, FOLDER, stored_value
from common.runs.workdir import Run, check_owner, claim, open_run, read_record, update_record
from common.training.task import make_task
from configs import acgan_covid, unet_brain_mri, vgg16_covid
from tests.common.program.test_json_files import HOSTILE

CARD = DataCard(
    name="covid_ct phantoms",
    classes=("COVID", "NonCOVID"),
    num_examples={"train": 64, "val": 16, "test": 16},
    image_size=16,
    channels=1,
    fingerprint="0" * 64,
    synthetic=True,
    skipped=0,
    class_counts=(32, 32),
)
# What a hand, a program or a bit may put where another value was.
VALUES = [None, True, -1, 0, 10**15, 0.5, "", "x" * 1000, "../..", [], [[]], {}, {"a": {}}]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    (workdir / FOLDER).mkdir(parents=True)
    run = Run(workdir, acgan_covid.get_config("tiny"), CARD)
    claim(run)
    update_record(workdir, {"wall_seconds": 1.5, "metrics": {"train/a": 0.5}, "warnings": ["w"]})
    report = {"checkpoint_step": 6, "temperature": 1.5, "memorization": {"memorized": False}}
    (workdir / FOLDER / EVALUATION).write_text(json.dumps(report))
    return run


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole.workdir, tmp_path / "run")
    return Run(tmp_path / "run", whole.config, whole.card)


def one_sentence(error, file):
    said = str(error.value)
    assert str(file) in said and "\n" not in said and len(said) < len(str(file)) * 2 + 400, said


@pytest.mark.parametrize("case", [*HOSTILE, "a folder"])
@pytest.mark.parametrize("name", ["config.json", "run.json", EVALUATION])
def test_a_file_that_is_not_what_was_written(run, name, case):
    file = run.workdir / (f"{FOLDER}/{name}" if name == EVALUATION else name)
    if case == "a folder":
        file.unlink()
        file.mkdir()
    else:
        content, _ = HOSTILE[case]
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    uses = {
        "config.json": [
            lambda: open_run(run.workdir),
            lambda: check_owner(run.workdir, run.config),
        ],
        "run.json": [lambda: open_run(run.workdir), lambda: read_record(run.workdir)],
        EVALUATION: [lambda: stored_value(run, "temperature", 6, float)],
    }
    for use in uses[name]:
        with pytest.raises(UserError) as raised:
            use()
        one_sentence(raised, file)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("data.image_size", "16", "config.data.image_size is '16'"),
        ("data.image_size", 0, "config.data.image_size is 0"),
        ("data.image_size", 10**12, "image_size"),
        ("data", [], "config.data is '\\[\\]'"),
        ("train.num_steps", 6, "config.train.num_steps"),
        ("train.keep_last", True, "config.train.keep_last"),
        ("task", None, "names no task"),
        ("task", "../gan", "config.task is '../gan'"),
        ("seed", -1, "config.seed is -1"),
    ],
)
def test_a_setting_that_cannot_be_is_named(run, field, value, says):
    file = run.workdir / "config.json"
    fields = json.loads(file.read_text())
    *outer, last = field.split(".")
    inner = fields[outer[0]] if outer else fields
    inner[last] = value
    file.write_text(json.dumps(fields))
    with pytest.raises(UserError, match=says):
        make_task(open_run(run.workdir).config, CARD)


@pytest.mark.parametrize("name", ["memorized", "can_tell"])
def test_a_value_of_another_type_in_an_evaluation_is_named(run, name):
    with pytest.raises(UserError, match=f"'memorization.{name}' is"):
        stored_value(run, f"memorization.{name}", 6, str)


def leaves(value, path=()):
    """Yields the place of everything in an object."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from leaves(entry, (*path, name))


def changed(fields, path, value):
    fields = copy.deepcopy(fields)
    inner = fields
    for name in path[:-1]:
        inner = inner[name]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return fields


@pytest.mark.parametrize("module", [acgan_covid, unet_brain_mri, vgg16_covid])
@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_any_field_with_any_value_is_refused_or_means_something(tmp_path, module, name):
    """A seeded sample; whatever passes must build the task, or be refused there."""
    config = module.get_config("tiny")
    masks = ("background", "tumour") if module is unet_brain_mri else ()
    fields = {**CARD.to_dict(), "image_size": config.data.image_size, "mask_classes": masks}
    fields["channels"] = config.data.channels
    claim(Run(tmp_path, config, DataCard(**fields)))
    file, draw = tmp_path / name, random.Random(0)
    whole = json.loads(file.read_text())
    places = [path for path in leaves(whole) if name == "config.json" or path[0] == "data"]
    for path in draw.choices(places, k=25):
        value = draw.choice([*VALUES, KeyError])
        file.write_text(json.dumps(changed(whole, path, value)))
        try:
            run = open_run(tmp_path)
            make_task(run.config, run.card)
        except UserError as error:
            assert len(str(error)) < 1500, (path, value)
        except Exception as error:
            pytest.fail(f"{path} = {value!r}: {type(error).__name__}: {error}")
