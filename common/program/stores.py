"""Object stores (gs://, s3:// and whatever else fsspec opens): the program works on local copies.

    with kept_in_store("s3://bucket/run"):      # copies what is there, and sends what changes
        place = user_path("s3://bucket/run")    # its local copy, a folder like any other

Stores have no appending, renaming or locking, which runs rest on; so all of these happen in the
copy. A thread sends what changes in it. Whatever the program is killed at, the store holds a run
that can be resumed: the last file of a checkpoint is sent after all others.
"""

import fcntl
import hashlib
import itertools
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from common.program.errors import UserError
from common.program.log import log
from common.program.own_cache import own_cache

_MARKER = "_CHECKPOINT_METADATA"  # the last file that Orbax writes of a checkpoint
_UNFINISHED = re.compile(r"\.tmp-|\.lock$|.*orbax-checkpoint-tmp")
_PAUSE_SECONDS = 20.0  # between two looks for what has changed
_PATIENCE_SECONDS = 300.0  # with a store that fails
_REFUSALS = (PermissionError, FileNotFoundError)  # which no patience helps

Result = TypeVar("Result")
_copies: dict[str, Path] = {}  # of what is kept in stores, by their URLs


def is_url(path: str | Path) -> bool:
    """Returns whether a path is an address of an object store, as in s3://bucket/run."""
    return isinstance(path, str) and "://" in path


def local_copy(url: str) -> Path:
    """Returns the local copy of a file or folder in a store; it is brought up to date first.

    Raises:
      UserError: there is no such thing, or the store can't be read.
    """
    if url.rstrip("/") in _copies:
        return _copies[url.rstrip("/")]
    store, folder = _Store(url), _folder_of(url)
    store.fetch(folder)
    return folder / PurePosixPath(url).name if store.is_file else folder


def address(folder: Path) -> str:
    """Returns what a user calls a folder: of a local copy, the URL of what is copied."""
    return next((url for url, copy in _copies.items() if copy == folder), str(folder))


@contextmanager
def kept_in_store(workdir: str, process: int = 0) -> Iterator[None]:
    """Keeps a workdir in its store, if it is in one; several are separated by commas.

    Args:
      workdir: as the user names it.
      process: the number of this process; only 0 writes to the store.

    Raises:
      UserError: the store can't be read, or what is new can't be written to it.
    """
    with ExitStack() as stack:
        for url in filter(is_url, workdir.split(",")):
            stack.enter_context(_kept(url.rstrip("/"), process))
        yield


@contextmanager
def _kept(url: str, process: int) -> Iterator[None]:
    store = _Store(url)
    with _own_folder(_folder_of(url)) as folder:
        store.fetch(folder, marked=True)
        _copies[url] = folder
        log.info("%s is kept in %s meanwhile", url, folder)
        try:
            with nullcontext() if process else _Sender(store, folder):
                yield
        finally:
            del _copies[url]


@contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that no other process uses: this one with a number."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        mine = folder.with_name(f"{folder.name}.{number}")
        with mine.with_name(f"{mine.name}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(mine, ignore_errors=True)
            mine.mkdir()
            yield mine
            return


def _folder_of(url: str) -> Path:
    """Returns the folder for a local copy: a name of its own for each URL."""
    plain, checksum = re.sub(r"\W+", "_", url), hashlib.sha256(url.encode()).hexdigest()
    return own_cache() / "stores" / f"{plain[:80]}-{checksum[:8]}"


class _Store:
    """A file or folder in an object store.

    Attributes:
      is_file: whether it is one file, once `fetch` has found that out.
    """

    def __init__(self, url: str) -> None:
        """Opens nothing yet.

        Raises:
          UserError: what is needed for such stores is not installed, or there are no such stores.
        """
        self.url = url
        try:
            from fsspec.core import url_to_fs

            self._files, root = url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise UserError(
                f"{url} can't be opened: {reason}; pip install -e '.[storage]' for s3:// and gs://."
            ) from error
        if "file" in self._files.protocol:
            raise UserError(f"{url} is no object store; name the folder without file://.")
        self._root: str = root.rstrip("/")
        self.is_file = False

    def fetch(self, folder: Path, *, marked: bool = False) -> None:
        """Copies what is new or has changed into a folder, and removes there what is gone.

        Args:
          folder: the local copy.
          marked: of a workdir, which may be missing, and whose unfinished checkpoints are left out.
        """
        found = self._patiently(self._listed)
        if not found and not marked:
            raise UserError(f"{self.url} can't be opened: there is nothing; check the address.")
        if marked:
            found = {name: one for name, one in found.items() if _is_finished(name, found)}
        index = folder.with_name(f"{folder.name}.json")
        known: dict[str, str] = {}
        if index.exists() and not marked:
            known = json.loads(index.read_text())
        for name in known.keys() - found.keys():
            (folder / name).unlink(missing_ok=True)
        for name, version in found.items():
            if known.get(name) != version or not (folder / name).exists():
                self._patiently(partial(self._fetch_one, name, folder / name))
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_text(json.dumps(found))

    def send(self, file: Path, name: str) -> None:
        """Writes one file to the store."""
        self._files.put_file(str(file), f"{self._root}/{name}")

    def remove(self, name: str) -> None:
        """Removes one file from the store."""
        self._files.rm_file(f"{self._root}/{name}")

    def _listed(self) -> dict[str, str]:
        """Returns what is in the store: names below the URL, and what tells their versions."""
        found = {}
        for path, facts in self._files.find(self._root, detail=True).items():
            self.is_file = path == self._root
            name = PurePosixPath(path).name if self.is_file else path[len(self._root) + 1 :]
            if ".." in PurePosixPath(name).parts:
                raise UserError(f"{self.url} has a file named {name}; rename it.")
            found[name] = str(sorted((key, str(value)) for key, value in facts.items()))
        return found

    def _fetch_one(self, name: str, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f".tmp-{file.name}")
        self._files.get_file(self._root if self.is_file else f"{self._root}/{name}", str(scratch))
        scratch.replace(file)

    def _patiently(self, work: Callable[[], Result]) -> Result:
        """Tries again while the store fails.

        Raises:
          UserError: it still does after minutes, or refuses.
        """
        end, told = time.monotonic() + _PATIENCE_SECONDS, False
        while True:
            try:
                return work()
            except UserError:
                raise
            except Exception as error:  # each store has its own
                if isinstance(error, _REFUSALS) or _late(end):
                    raise UserError(
                        f"{self.url} can't be read: {_told(error)}; check the address and the"
                        " credentials."
                    ) from error
                if not told:
                    log.warning("%s fails (%s); trying again.", self.url, _told(error))
                told = True
            time.sleep(2)


class _Sender:
    """Sends what changes in a local copy to its store; the end of the `with` sends the rest."""

    def __init__(self, store: _Store, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._sent = {name: _version(file) for name, file in self._files().items()}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def __enter__(self) -> "_Sender":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        end = time.monotonic() + _PATIENCE_SECONDS
        while failure := self._tried():
            if isinstance(failure, _REFUSALS) or _late(end):
                raise UserError(
                    f"{self._store.url} can't be written: {_told(failure)}; everything is in"
                    f" {self._folder}: copy it there before you start again."
                )
            time.sleep(2)

    def _run(self) -> None:
        while not self._over.wait(_PAUSE_SECONDS):
            if failure := self._tried():
                log.warning("%s fails (%s); it is tried again.", self._store.url, _told(failure))

    def _tried(self) -> Exception | None:
        """Sends what has changed; returns why it could not."""
        try:
            self._send_changes()
        except Exception as error:  # each store has its own
            return error
        return None

    def _send_changes(self) -> None:
        # The list comes first: what a run writes before a checkpoint is there when that is sent.
        files, gone = self._files(), set[tuple[str, ...]]()
        for name in sorted(files, key=_place_in_order):
            place = PurePosixPath(name).parts[:2]
            try:
                version = _version(files[name])
            except FileNotFoundError:  # removed meanwhile, perhaps with a whole checkpoint
                gone.add(place)
            if place in gone:
                continue
            if self._sent.get(name) != version:
                self._store.send(files[name], name)
                self._sent[name] = version
        for name in sorted(self._sent.keys() - files.keys(), key=_place_in_order, reverse=True):
            self._store.remove(name)
            del self._sent[name]

    def _files(self) -> dict[str, Path]:
        """Returns all files that are whole, by their names in the store."""
        found = {}
        for file in self._folder.rglob("*"):
            name = file.relative_to(self._folder)
            if not any(map(_UNFINISHED.match, name.parts)) and file.is_file():
                found[name.as_posix()] = file
        return found


def _place_in_order(name: str) -> tuple[bool, bool, str]:
    """Returns a key that sorts files as they are sent: last checkpoints, at their end markers."""
    return name.startswith("checkpoints/"), name.endswith(_MARKER), name


def _is_finished(name: str, names: Mapping[str, Any]) -> bool:
    """Returns whether a file is of no checkpoint, or of one that was sent to its end."""
    parts = PurePosixPath(name).parts
    if parts[0] != "checkpoints" or len(parts) < 3:
        return True
    return "/".join((*parts[:2], _MARKER)) in names


def _version(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns


def _late(end: float) -> bool:
    return time.monotonic() > end


def _told(error: Exception) -> str:
    """Returns what a store's error says, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200].rstrip(" .:")
