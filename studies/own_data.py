"""--mode=run: a folder of your own images, from the first look to scores, with one command.

It inspects the images, trains `what_fits` on them and evaluates it. Each part does and writes what
its own mode would; the same command continues where it stopped.
"""

import importlib
import re
import shlex
from itertools import chain, islice
from pathlib import Path

from ml_collections import ConfigDict

from common.config import defaults as configs
from common.config.tasks import find_mode, options_of
from common.data.prepared.suggested_groups import NameGroups, suggested_groups
from common.data.records import Contents, Record
from common.data.settings import DataSettings
from common.data.sources.open import open_source
from common.data.sources.pairs import IMAGE_FOLDERS
from common.devices import processes
from common.inspect.command import run_inspect
from common.inspect.kept import default_folder
from common.program.accidents import told_in
from common.program.errors import DivergenceError, UserError
from common.program.files import user_path
from common.program.log import log
from common.run_page.write import REPORT
from common.runs import changes
from common.runs.evaluation import FOLDER
from common.runs.workdir import open_run
from common.training.replicas import check_one
from common.training.train import train
from studies.experiment import Experiment

_ASKED = 64  # records whose files may name a patient


def run_own_data(given: Experiment | None, path: str, workdir: str, *, restart: bool) -> None:
    """Inspects images, trains on them, evaluates, and prints where the results are.

    Args:
      given: the experiment; None for the one that fits.
      path: the folder or file of the images; "" for the experiment's own.
      workdir: of the run; "" for runs/DATA-CONFIG.
      restart: whether to train from the beginning.

    Raises:
      UserError: the images or a setting can't be used, or nothing fits.
    """
    if not processes.alone():
        raise UserError("--mode=run is for one process; train with --config=FILE.")
    if not path and given is None:
        raise UserError("--mode=run needs --input=PATH, a folder or file of your images.")
    try:
        _run(_on(given, path), workdir, restart=restart)
    except UserError as error:
        if given or not error.advises_setting:
            raise
        raise UserError(
            f"{error} (Settings follow a config, such as --config=configs/unet.py; with make they"
            " go into ARGS, with TASK=unet.)"
        ) from error


def _run(chosen: Experiment, workdir: str, *, restart: bool) -> None:
    """Runs the three parts, each as its own mode does."""
    check_one(chosen.config)
    folder = user_path(workdir or _default_workdir(chosen))
    inspected = default_folder(DataSettings.of(chosen.config.data))
    invalid = run_inspect(chosen.config, "", "")
    print(
        f"\ntraining {chosen.file} in {folder}; the log says how long is left. Ctrl-C saves, and"
        " the same command continues.\n",
        flush=True,
    )
    with told_in(folder):
        try:
            finished = train(chosen.config, folder, restart=restart)
        except DivergenceError as error:
            raise DivergenceError(
                error.what,
                f"Start again with --restart, --config={chosen.file} and a lower learning rate, a"
                " setting of config.optimizer; with make, set TASK and put the rest into ARGS.",
            ) from error
        if not finished:
            return
        run = open_run(folder)
        find_mode(run.config.task, "evaluate")(run, options_of(run.config.task)())
    _print_summary(chosen, folder, inspected, invalid=bool(invalid))


def what_fits(contents: Contents) -> str:
    """Returns the config to begin with: "unet" for images with masks, "gan" for classes.

    Raises:
      UserError: the images have targets for translation, which nothing here does; or the folder of
        their masks is not recognised.
    """
    if contents.mask_classes:
        return "unet"
    images = [name for name in contents.classes if name.casefold() in IMAGE_FOLDERS]
    if images and len(contents.classes) > 1:
        other = next(name for name in contents.classes if name != images[0])
        raise UserError(
            f"The folders {images[0]} and {other} look like two classes. If {other} holds the masks"
            f" of the images in {images[0]}, rename it to masks; if they are classes, add"
            " --config=configs/gan.py or --config=configs/classify.py."
        )
    if contents.splits["train"][0].read_target:
        raise UserError(
            "The images have targets for translation, which no config here does; name only the"
            " folder of the images, or a config with --config=configs/gan.py."
        )
    return "gan"


def _on(given: Experiment | None, path: str) -> Experiment:
    """Returns the experiment on these images, with patients kept together if names suggest any."""
    data = given.config.data if given else configs.default_config().data
    data = ConfigDict(
        {**data.to_dict(), **({"dir": path, "url": "", "sha256": ""} if path else {})}
    )
    contents = open_source(data).contents()
    if given is None:
        name = what_fits(contents)
        config = importlib.import_module(f"configs.{name}").get_config()
        given = Experiment(f"configs/{name}.py", config, {})
    config = ConfigDict(given.config)
    config.unlock()
    config.data.update(dir=data.dir, url=data.url, sha256=data.sha256)
    if "data.group" not in given.overrides and (found := _patients(contents, config.data)):
        config.data.group = found.expression
        log.info(
            "The %s suggest %d groups, perhaps patients, whose images stay together in the"
            " splits: --config.data.group='%s'",
            *(found.where, len(set(found.groups)), found.expression),
        )
    return given._replace(config=config.lock())


def _patients(contents: Contents, data: ConfigDict) -> NameGroups | None:
    """Returns the groups that names suggest, if splits are made and no groups are stated."""
    given = {"val", "test"} <= contents.splits.keys()
    makes_splits = data.splits or data.folds or (data.held_out and not given)
    if not makes_splits or data.group:
        return None
    records = list(chain.from_iterable(contents.splits.values()))
    if any(record.path is None for record in records) or any(map(_stated, islice(records, _ASKED))):
        return None
    return suggested_groups([record.id for record in records], contents.classes)


def _stated(record: Record) -> bool:
    """Returns whether a file or table names the patient; preparing reports a broken one."""
    try:
        return bool(record.read_group())
    except UserError:
        return False


def _default_workdir(chosen: Experiment) -> Path:
    """Returns runs/DATA-CONFIG; another length is the same experiment in the same folder."""
    free = changes.continuable(chosen.config.task)
    changed = {name: value for name, value in chosen.overrides.items() if name not in free}
    workdir = configs.default_workdir(chosen.file, changed)
    name = default_folder(DataSettings.of(chosen.config.data)).name.removeprefix("inspect-")
    return workdir.with_name(f"{name}-{workdir.name}")


def _print_summary(chosen: Experiment, folder: Path, inspected: Path, *, invalid: bool) -> None:
    """Prints where the results are, and how to get better ones."""
    length = re.sub(r"[\d.]+", _four_times, chosen.config.train.num_steps)
    overrides = {**chosen.overrides, "train.num_steps": length}
    command = ["python", "launch.py", "--mode=run", f"--input={chosen.config.data.dir}"]
    command += [f"--workdir={folder}", f"--config={chosen.file}"]
    command += [f"--config.{name}={value}" for name, value in overrides.items()]
    print("\nThe results:")
    print(f"  your images:  {inspected}/inspect.html")
    print(f"  report:       {folder / REPORT}")
    print(f"  training:     {folder}/pictures")
    print(f"  evaluation:   {folder}/{FOLDER}")
    print(f"  train longer: {shlex.join(command)}")
    if invalid:
        print(
            "  warning:      the inspection found errors that make these results invalid; fix them"
            " first"
        )


def _four_times(number: re.Match[str]) -> str:
    return f"{4 * float(number[0]):.15g}"
