"""Triptych for programs and notebooks: the same as its command line, without a command line.

    import triptych

    config = triptych.load_config("acgan_covid", seed=1)
    run = triptych.train(config, "runs/first")              # resumes if it was interrupted
    images = run.generate(16, label="COVID", seed=0)        # uint8 [16, 64, 64, 1]

Nothing is imported before it is needed. `triptych.gan` is the package `gan`, and so on: the
packages lie side by side at the top of the project, where `launch.py` finds them. What goes wrong
is raised as `UserError`, a sentence for people; training that diverges as `DivergenceError`.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8
    from ml_collections import ConfigDict

    from common.data.sources.incoming import Given
    from common.program.options import Options

_PACKAGES = ("classify", "common", "configs", "gan", "pretrain", "studies", "translate", "unet")
_ERRORS = ("DivergenceError", "UserError")

Place: TypeAlias = str | os.PathLike[str]


def load_config(
    name: str, changes: "Mapping[str, object] | None" = None, /, **more: object
) -> "ConfigDict":
    """Returns the settings of an experiment, some of them changed.

    >>> config = load_config("acgan_covid:tiny", {"data.batch_size": 8}, seed=1)
    >>> config.data.batch_size, config.seed
    (8, 1)
    >>> load_config("acgan_covid", train={"num_steps": 2000}).train.num_steps
    '2000'
    >>> load_config("acgan_covid", {"data.bach_size": 8})
    Traceback (most recent call last):
    common.program.errors.UserError: config.data.bach_size is not a setting of this config. ...

    Args:
      name: of a file in configs/, or the path of one of your own; ":tiny" makes it a run of
        seconds.
      changes: settings by their names, with dots between their parts.
      **more: likewise, sections as dicts.

    Raises:
      UserError: there is no such file or setting, or a value is invalid.
    """
    from common.config.load import load_config as load

    return load(name, {**(changes or {}), **more})


def train(
    config: "ConfigDict", workdir: Place, *, restart: bool = False, allow_change: bool = False
) -> "Run":
    """Trains an experiment in its workdir, and returns the run; goes on where it was interrupted.

    >>> train(load_config("small_cnn_chest_xray:tiny"), workdir).classes
    ('NORMAL', 'PNEUMONIA')

    Ctrl-C, or a notebook's stop button, ends training after the current step and saves it; the same
    call goes on from there. Of replicas, the run of the first seed is returned.

    Args:
      config: its settings.
      workdir: the folder of the run; it is made if it is missing.
      restart: whether to start over; an earlier run's files are moved to WORKDIR/earlier-1.
      allow_change: whether to go on with other settings than the run began with.

    Raises:
      UserError: a setting or the data is invalid, or workdir, memory or disk are unsuitable.
      DivergenceError: a metric or the state became infinite or not a number.
      KeyboardInterrupt: a signal came; what was done is saved.
    """
    from common.program.files import user_path
    from common.training.replicas import replicas_of
    from common.training.train import train as train_run

    _start()
    place = user_path(Path(workdir))
    with _told_in(place):
        if not train_run(config, place, restart=restart, allow_change=allow_change):
            raise KeyboardInterrupt(f"Training in {place} was stopped and saved; call it again.")
        return open_run(replicas_of(config, place)[0][1])


def open_run(workdir: Place) -> "Run":
    """Opens a run that was trained here or elsewhere, or an ensemble of such.

    >>> open_run(workdir)
    triptych.open_run('run')
    >>> open_run("nowhere")
    Traceback (most recent call last):
    common.program.errors.UserError: nowhere holds no run ...

    Raises:
      UserError: the folder holds none, or its files are damaged.
    """
    return Run(workdir)


class Run:
    """A trained run, or an ensemble.

    Attributes:
      workdir: its folder.
      config: its settings; of an ensemble, those of the first member.
      classes: the names of the images' classes, by which `generate` draws and `predict` decides.
      mask_classes: those of the masks' pixels, the background first; () if there are no masks.
    """

    def __init__(self, workdir: Place) -> None:
        """Opens a run: see `open_run`."""
        from common.runs.workdir import open_run

        _start()
        self._run = open_run(Path(workdir))
        self.workdir, self.config = self._run.workdir, self._run.config
        self.classes, self.mask_classes = self._run.card.classes, self._run.card.mask_classes

    def __repr__(self) -> str:
        return f"triptych.open_run({str(self.workdir)!r})"

    def generate(
        self, n: int, *, label: str = "", seed: int = 0, **flags: object
    ) -> "UInt8[np.ndarray, 'n height width channels']":
        """Returns generated images, 0 to 255: those that --mode=generate writes.

        >>> images = run.generate(4, label="COVID", seed=1)
        >>> images.shape, images.dtype
        ((4, 16, 16, 1), dtype('uint8'))
        >>> bool((images == run.generate(6, label="COVID", seed=1)[:4]).all())
        True

        Args:
          n: their number.
          label: their class; "" for all in turn: image i is of class i % len(classes).
          seed: from which they are drawn.
          **flags: truncation, reject, novel and strict, as on the command line.

        Raises:
          UserError: the run generates nothing, or an option is invalid.
        """
        draw = self._function("generate", "generated")
        wanted = {"num_images": n, "label": label, "seed": seed, **flags}
        files = ("output", "overwrite", "bits", "walk", "rows", "frames", "axis")
        options = self._options("generate", wanted, without=files)
        with _told_in(self.workdir):
            images: np.ndarray = draw(self._run, options)
        return images

    def predict(self, images: "Given") -> "np.ndarray | list[np.ndarray]":
        """Returns what the network finds in images, in their order.

        A classifier returns the probability of each of `classes`, [n, classes] (of each finding, as
        its evaluation names them, where images may show several); a U-Net a mask for
        each image, [height, width], with the numbers of `mask_classes`; a translation the image
        that each is translated to, [height, width, channels].

        >>> classifier.predict(classifier_images).shape      # uint8 [3, 50, 70]
        (3, 2)

        Args:
          images: the path of a file, an array of images [n, height, width] or [n, height, width, 3]
            of 0 to 255, or a list of files and of single images. They may have any size: they are
            scaled as the training images were. A DICOM file or a volume counts as all its slices.

        Raises:
          UserError: the run predicts nothing, or an image can't be read.
        """
        from common.data.sources.incoming import images_of
        from common.data.sources.open import reading_of

        with _told_in(self.workdir):
            found: np.ndarray | list[np.ndarray] = self._predictor(
                images_of(images, reading_of(self._run.settings.data))
            )
        return found

    def evaluate(self, **flags: object) -> dict[str, Any]:
        """Returns the report of --mode=evaluate, as evaluation.json has it; writes its files.

        >>> report = classifier.evaluate(operating_point="sensitivity=0.95")
        >>> sorted(report["scores"]["accuracy"])
        ['high', 'low', 'value']

        Args:
          **flags: as on the command line, such as input="DIR" for images of another folder.

        Raises:
          UserError: an option, the data or the checkpoint can't be used.
        """
        from common.config.tasks import find_mode
        from common.program.json_files import read_object
        from common.runs.evaluation import EVALUATION, evaluation_outputs

        evaluate = find_mode(self.config.task, "evaluate")
        options = self._options("evaluate", flags)
        with _told_in(self.workdir):
            evaluate(self._run, options)
            folder = evaluation_outputs(self._run, options).folder
            return read_object(folder / EVALUATION, "evaluate the run again")

    def export(self, output: Place, *, overwrite: bool = False) -> Path:
        """Writes the network for other programs, as --mode=export does, and returns the folder.

        Args:
          output: the folder to write to.
          overwrite: whether to replace what an earlier export wrote there.

        Raises:
          UserError: a package is missing, or the folder can't be used.
        """
        from common.config.tasks import find_mode
        from common.program.files import user_path

        write = find_mode(self.config.task, "export")
        options = self._options("export", {"output": output, "overwrite": overwrite})
        with _told_in(self.workdir):
            write(self._run, options)
        return user_path(Path(output))

    def report(self) -> Path:
        """Writes the page of the run and its card.md anew, and returns the page, report.html.

        >>> run.report().name
        'report.html'

        Raises:
          UserError: a file of the run is damaged.
        """
        from common.run_page.write import write_page

        with _told_in(self.workdir):
            return write_page(self._run)

    @cached_property
    def _predictor(self) -> Callable[..., Any]:
        """The trained network, loaded once."""
        predictor: Callable[..., Any] = self._function("predict", "open_predictor")(self._run)
        return predictor

    def _function(self, mode: str, name: str) -> Callable[..., Any]:
        """Returns what a mode's function does before it writes files.

        Raises:
          UserError: runs of this task have no such mode, or the task does not offer the function.
        """
        from common.config.tasks import find_mode, find_task
        from common.program.errors import UserError

        find_mode(self.config.task, mode)
        found: Callable[..., Any] | None = getattr(find_task(self.config.task), name, None)
        if found is None:
            raise UserError(
                f"config.task {self.config.task!r} has no function {name} in its task.py, which"
                " Python needs; see docs/new_task.md."
            )
        return found

    def _options(
        self, mode: str, given: Mapping[str, object], without: tuple[str, ...] = ()
    ) -> "Options":
        """Returns the flags of a mode; refuses those that it does not take here."""
        from common.config.tasks import declaration_of
        from common.program.errors import UserError

        declared = declaration_of(self.config.task)
        known = [name for name in declared.modes[mode].flags if name not in without]
        if unknown := [name for name in given if name not in known]:
            raise UserError(
                f"{mode} of config.task {self.config.task!r} takes no {unknown[0]}; it takes"
                f" {', '.join(known)}."
            )
        read: dict[str, Any] = {
            name: str(value) if isinstance(value, os.PathLike) else value
            for name, value in given.items()
        }
        return declared.options(**read)


@cache
def _start() -> None:
    """Does once what `launch.py` does before it runs a mode, but for its hold on the process."""
    from absl import logging

    from common.training.start import start_jax

    logging.set_verbosity(logging.ERROR)  # Orbax and TFDS log too much
    start_jax("", 1, 0)


@contextmanager
def _told_in(workdir: Path) -> Iterator[None]:
    """Turns any error into a sentence; what modes print goes where their log goes.

    So a program's own output stays its own.
    """
    from common.program.accidents import told_in

    with told_in(workdir), redirect_stdout(sys.stderr):
        yield


def __getattr__(name: str) -> Any:
    """Returns a package, an error's class or the version, and imports what that takes.

    Raises:
      AttributeError: there is none of that name.
    """
    if name in _PACKAGES:
        return importlib.import_module(name)
    if name in _ERRORS:
        return getattr(importlib.import_module("common.program.errors"), name)
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("triptych")
    raise AttributeError(f"module 'triptych' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the names of the functions, the errors and the packages."""
    own = ("Run", "load_config", "open_run", "train", "__version__")
    return [*own, *_ERRORS, *_PACKAGES]
