"""Fixtures that more than one folder of tests needs."""

import ctypes
import fcntl
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import psutil
import pytest

from tests.forked import run_forked, start_fork_server

# Of each of some workers; what is let go of is compiled anew where it is needed again.
_MUCH_MEMORY = psutil.virtual_memory().total // 8

# Of traces there are millions of small objects, which the collector would look through again and
# again: 7 and 31 % of the CPU time of three files whose tests trace, in two runs.
gc.set_threshold(200_000, 50, 1000)

ROOT = Path(__file__).resolve().parent.parent

# XLA's emitters of fusions take half the time that it takes to compile a step for a CPU; to divide
# each program among threads takes a tenth of that of two files of tests. Where JAX is older than
# 0.11 both can be turned off; elsewhere XLA does not know the first flag and gives up.
_QUICK = (
    ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")
    if jax.__version_info__ < (0, 11)
    else ()
)
os.environ["XLA_FLAGS"] = " ".join((os.environ.get("XLA_FLAGS", ""), *_QUICK)).strip()

# Beside other tests two threads of a small network wait for each other: tests/test_unet.py took
# 61 s of CPU time with one, and 91 with two.
_ALONE = ("--xla_cpu_multi_thread_eigen=false",)

Command = Callable[..., subprocess.Popen]
Launch = Callable[..., subprocess.CompletedProcess]

_HIDE_TENSORFLOW = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec

def hiding(name, path=None, target=None):
    hidden = name.split(".")[0] in ("tensorflow", "tensorboard")
    return None if hidden else find(name, path, target)

PathFinder.find_spec = hiding
"""


# Under `nohup`, or behind "&" in a script, these are ignored, and programs that are started here
# would ignore them, too.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts tests of what is made once first: else, at the end, two workers wait for the same."""
    items.sort(key=lambda item: "made_once" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps compiled programs for all tests of a session, those of other workers too."""
    folder = tmp_path_factory.getbasetemp().parent / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session", autouse=True)
def _no_tensorflow() -> Iterator[None]:
    """Runs within a test have tensorboardX's event files: TensorFlow takes seconds and much memory.

    tests/test_launch.py has a run whose files are CLU's.
    """
    from common.training import event_files  # later than the hook that checks their types

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_files, "_clus_writer", event_files.EventWriter)
        yield


@pytest.fixture(scope="session", autouse=True)
def _young_garbage() -> Iterator[None]:
    """Where programs collect all garbage, once for each that they compile, only new is collected.

    What a process of many tests has traced is much: it was a fifth of the time of an evaluation.
    """
    from common.program import memory

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "gc", SimpleNamespace(collect=lambda: gc.collect(1)))
        yield


@pytest.fixture(scope="module", autouse=True)
def _little_memory() -> Iterator[None]:
    """After a file's tests, lets go of their compiled programs where these have become many.

    What is there before them is not looked through at each collection.
    """
    gc.collect()
    gc.freeze()
    yield
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    if pages * os.sysconf("SC_PAGE_SIZE") > _MUCH_MEMORY:
        gc.unfreeze()
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="module")
def one_program() -> Iterator[None]:
    """Trainings of the same settings take the same compiled step, if a file's tests ask for it."""
    from common.training import dispatch, train  # later than the hook that checks their types

    make_task, compile_advance = train.make_task, dispatch.compile_advance
    made: dict[int, tuple[Any, str]] = {}  # tasks, which stay, and what they are made of
    compiled: dict[str, dispatch.Advance] = {}

    def known(config: Any, card: Any) -> Any:
        task = make_task(config, card)
        made[id(task)] = task, f"{config.to_json()} {card}"
        return task

    def once(task: Any, seeds: Any, state: Any, block: Any, **options: Any) -> dispatch.Advance:
        shapes = jax.tree.map(jax.typeof, (state, block.examples, block.indices))
        asked = repr((made[id(task)][1], seeds, shapes, options))
        if asked not in compiled:
            compiled[asked] = compile_advance(task, seeds, state, block, **options)
        return compiled[asked]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "make_task", known)
        patch.setattr(dispatch, "compile_advance", once)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Any]]:
    """Makes something for the tests of a file once, however many workers share the file.

    Called as (name, make), it returns a folder of this worker's own with what make(folder) left in
    it, and its result: texts in which the first folder's path is replaced by this one's.
    """
    own = tmp_path_factory.getbasetemp()
    place = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "once"
    place.mkdir(exist_ok=True)

    def once(name: str, make: Callable[[Path], tuple[str, ...]]) -> tuple[Path, tuple[str, ...]]:
        folder, said = place / name, place / f"{name}.json"
        with (place / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not said.exists():
                folder.mkdir()
                said.write_text(json.dumps(make(folder)))
        mine = tmp_path_factory.mktemp(name) / "copy"
        shutil.copytree(folder, mine)
        return mine, tuple(json.loads(said.read_text().replace(str(folder), str(mine))))

    return once


@pytest.fixture(scope="session")
def trained_once(launch: Launch, made_once: Callable[..., tuple[Path, Any]]) -> Callable[..., Any]:
    """Returns (name, flags) -> a trained and evaluated run, what it said, seconds of both."""

    def of(name: str, *flags: str) -> tuple[Path, str, float]:
        def train(folder: Path) -> tuple[str, str]:
            started = time.monotonic()
            launch(*flags, f"--workdir={folder / 'run'}", optimised=True)
            said = launch("--mode=evaluate", f"--workdir={folder / 'run'}")
            return said.stdout, str(time.monotonic() - started)

        folder, (said, seconds) = made_once(name, train)
        return folder / "run", said, float(seconds)

    return of


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the project; its README says what they are."""
    folder = Path(os.environ.get("SHARED_DATA") or ROOT.parent / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: set SHARED_DATA to the folder of real images")
    return folder


@pytest.fixture(scope="session")
def without_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with which programs run as on a machine that has no TensorFlow."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(_HIDE_TENSORFLOW)
    return folder


@pytest.fixture(scope="session")
def environment(
    tmp_path_factory: pytest.TempPathFactory, without_tensorflow: Path
) -> Callable[..., dict[str, str]]:
    """Returns the environment of a program of the project, with a cache of its own.

    `devices` is how many CPU devices XLA shows it; `tensorflow` whether it finds that, which takes
    seconds to import; `optimised` whether XLA takes its time over programs that are to run long;
    further keywords are added.
    """
    cache = tmp_path_factory.getbasetemp().parent / "triptych-cache"  # of all xdist workers

    def of(
        *, devices: int = 1, tensorflow: bool = False, optimised: bool = False, **more: str
    ) -> dict[str, str]:
        path = [ROOT] if tensorflow else [without_tensorflow, ROOT]
        flags = _ALONE if optimised else _QUICK
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "TRIPTYCH_CACHE": str(cache),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": str(not optimised),
            "XLA_FLAGS": " ".join((f"--xla_force_host_platform_device_count={devices}", *flags)),
            **more,
        }

    return of


@pytest.fixture(scope="session")
def start(environment: Callable[..., dict[str, str]]) -> Command:
    """Starts a Python program of the project in a process of its own; keywords: `environment`."""

    def run(*args: object, cwd: Path = ROOT, **keywords: object) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, *map(str, args)],
            cwd=cwd,
            env=environment(**keywords),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.fixture(scope="session")
def launch(
    start: Command,
    environment: Callable[..., dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Launch:
    """Runs `python launch.py ...` to its end; a failure shows what it said, unless expected.

    It is forked from a process that has imported the libraries, unless keywords ask for an
    environment that this one can't be given any more.
    """

    def run(
        *args: object,
        code: int = 0,
        program: object = "launch.py",
        cwd: Path = ROOT,
        devices: int = 1,
        **keywords: object,
    ) -> subprocess.CompletedProcess:
        if any(keywords.values()):
            process = start(program, *args, cwd=cwd, devices=devices, **keywords)
            said = process.communicate(timeout=600)
            done = subprocess.CompletedProcess(process.args, process.returncode, *said)
        else:
            flags = {"XLA_FLAGS": environment(devices=devices)["XLA_FLAGS"]}
            folder = tmp_path_factory.mktemp("said")
            done = run_forked([str(x) for x in (program, *args)], cwd, flags, folder)
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    # Without huge pages launch.py would start itself anew.
    start_fork_server(environment(GLIBC_TUNABLES="glibc.malloc.hugetlb=1"))
    return run
