"""A file by URL: downloaded into the cache once, resumed if interrupted, checked, opened."""

import fcntl
import re
import shutil
import time
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import Request, urlopen
from urllib.response import addinfourl

from common.data.files.kinds import EXTENSIONS
from common.data.records import Contents, Once, OpenPath, Source, fingerprint
from common.data.settings import DataSettings
from common.program.cache import cache_dir
from common.program.errors import UserError
from common.program.files import regular_file, sha256_of
from common.program.log import log
from common.program.scratch import take

_SCHEMES = ("http", "https", "file")
_ENDINGS = (".zip", ".npz", *EXTENSIONS)
_TIMEOUT = 30.0  # seconds without a response
_ATTEMPTS = 5  # connections that may break before the user is told
_CHUNK = 2**20
_REPORT_EVERY = 10.0  # seconds
_PARTIAL, _NOT_SATISFIABLE = 206, 416

Response = HTTPResponse | addinfourl  # the latter for a file on this machine


class Settings(NamedTuple):
    """The settings that messages name when something is wrong.

    Attributes:
      url: setting that names the file.
      sha256: setting of its checksum.
      local: flag that names a file downloaded by other means.
    """

    url: str
    sha256: str
    local: str


_DATA = Settings("config.data.url", "config.data.sha256", "config.data.dir")


class RemoteFile(NamedTuple):
    """A file by URL, and its place once downloaded.

    Attributes:
      url: of http, https or file.
      shown: the URL without a possible password.
      digest: the SHA-256 of the file.
      path: of the file in the cache.
      settings: those that messages name.
    """

    url: str
    shown: str
    digest: str
    path: Path
    settings: Settings

    def fetch(self) -> Path:
        """Downloads the file unless it is cached; returns its path.

        Raises:
          UserError: it can't be downloaded, or has another checksum.
        """
        if not self.path.exists():
            _fetch(self)
        return self.path


def remote_file(url: str, sha256: str, cache: Path, settings: Settings) -> RemoteFile:
    """Checks the settings of a file to download; downloads nothing yet.

    Args:
      url: of http, https or file.
      sha256: the file's checksum.
      cache: the cache folder.
      settings: those of both.

    Raises:
      UserError: a setting is invalid.
    """
    split = _parse(url, settings)
    name = _file_name(split)
    if not name:
        raise UserError(f"{settings.url} is {_shown(url)}, whose path names no file.")
    digest = sha256.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise UserError(
            f"{settings.sha256} is '{sha256}', but {settings.url} needs the 64 digits that"
            " identify the file; take them from where it is published, or from a copy that you"
            f" trust, by sha256sum {name}"
        )
    return RemoteFile(url, _shown(url), digest, cache / "downloads" / digest[:24] / name, settings)


def open_url(data: DataSettings, open_path: OpenPath) -> Source:
    """Opens the file at a URL by its type, as `open_path` does; downloads nothing yet.

    Args:
      data: `url` of http, https or file, whose path ends in a file's name; `sha256` of the file;
        `cache_dir`, and what `open_path` uses.
      open_path: opens the downloaded file.

    Raises:
      UserError: a setting is invalid; from the contents also: the file can't be downloaded or has
        another checksum, and any error of it.
    """
    if not _file_name(_parse(data.url, _DATA)).lower().endswith(_ENDINGS):
        raise UserError(
            f"config.data.url is {_shown(data.url)}, whose path does not end in the name of a file"
            f" that can be opened ({', '.join(_ENDINGS)}); pack a folder as a zip archive."
        )
    remote = remote_file(data.url, data.sha256, cache_dir(data.cache_dir), _DATA)

    def contents() -> Contents:
        return open_path(remote.fetch(), data).contents()

    identity = fingerprint("url", remote.digest, remote.path.name)
    return Source(remote.shown, identity, False, Once(contents))


def _parse(url: str, settings: Settings) -> SplitResult:
    try:
        split = urlsplit(url)
    except ValueError as error:
        raise UserError(f"{settings.url} is '{url}', which is not a URL ({error}).") from error
    if split.scheme not in _SCHEMES:
        raise UserError(
            f"{settings.url} is '{url}'; it must begin with {', '.join(_SCHEMES)} and ://; name a"
            f" file on this machine with --{settings.local} instead."
        )
    return split


def _file_name(split: SplitResult) -> str:
    """Returns a safe file name for the file that a URL names."""
    return re.sub(r"[^\w.-]", "_", PurePosixPath(unquote(split.path)).name)


def _shown(url: str) -> str:
    """Returns a URL without possible passwords, before the host or after the path."""
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}"


def _fetch(remote: RemoteFile) -> None:
    """Downloads a file, which gets its name only when it is complete and verified."""
    file = remote.path
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (file.parent / ".lock").open("a") as lock:
            if not take(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                log.info("waiting for the process that downloads %s", remote.shown)
                take(lock, fcntl.LOCK_EX)
            if file.exists():
                return
            resumes = part.exists()
            _fetch_part(remote, part)
            if (
                resumes and sha256_of(part) != remote.digest
            ):  # perhaps by a file that a crash left damaged
                part.unlink()
                _fetch_part(remote, part)
            _check(part, remote)
            part.rename(file)
            _validator_file(part).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{file} can't be written: {error.strerror}; free space or check permissions, or choose"
            " another --config.data.cache_dir"
        ) from error


def _fetch_part(remote: RemoteFile, part: Path) -> None:
    for _ in range(_ATTEMPTS):
        if _connect(remote, part):
            return
        log.info("%s broke off", remote.shown)
    raise UserError(
        f"{remote.shown} broke off {_ATTEMPTS} times, now after {part.stat().st_size:,} bytes;"
        " start again to resume, or download it by other means and set"
        f" --{remote.settings.local}."
    )


def _connect(remote: RemoteFile, part: Path) -> bool:
    """Downloads the rest of a file, or all of it if the server changed it or can't resume.

    Returns:
      Whether the file is complete; else the connection broke.
    """
    request = Request(remote.url, headers={"User-Agent": "triptych"})
    begin = part.stat().st_size if part.exists() else 0
    if begin and _validator_file(part).exists():
        request.add_header("Range", f"bytes={begin}-")
        request.add_header("If-Range", _validator_file(part).read_text())
    try:
        _check_local(remote)
        response = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code == _NOT_SATISFIABLE and request.has_header("Range"):
                return True  # nothing is left to download
            raise _unreachable(remote, f"{error.code} {error.reason}") from error
    except URLError as error:
        raise _unreachable(remote, getattr(error.reason, "strerror", "") or error.reason) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(remote, error) from error
    with response:
        resumed = response.status == _PARTIAL
        begin = begin if resumed else 0
        if not resumed:
            _note_validator(response, part)
        return _receive(response, remote.shown, part, begin)


def _check_local(remote: RemoteFile) -> None:
    """Refuses a pipe on this machine, which would block without a timeout."""
    split = urlsplit(remote.url)
    if split.scheme == "file":
        with suppress(OSError):  # the reader reports it
            regular_file(Path(unquote(split.path)))


def _unreachable(remote: RemoteFile, reason: object) -> UserError:
    return UserError(
        f"{remote.shown} can't be downloaded: {reason}; check --{remote.settings.url} and the"
        f" network, or download it by other means and set --{remote.settings.local}."
    )


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.validator")


def _note_validator(response: Response, part: Path) -> None:
    """Saves what identifies a version of the file (RFC 9110, 13.1.5); without it no resuming.

    Weak entity tags do not identify it: they may stay when bytes change.
    """
    tag = response.headers.get("ETag", "")
    strong = tag and not tag.startswith("W/")
    validator = tag if strong else response.headers.get("Last-Modified", "")
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)
    if validator:
        _validator_file(part).write_text(validator)


def _receive(response: Response, shown: str, part: Path, begin: int) -> bool:
    stated = response.headers.get("Content-Length", "")
    total = begin + int(stated) if stated.isdecimal() else 0
    if total - begin > (free := shutil.disk_usage(part.parent).free):
        raise UserError(
            f"{shown} has {total:,} bytes and {part.parent} has {free:,} left; free space or choose"
            " another --config.data.cache_dir"
        )
    size, of_total = begin, f" of {total:,}" if total else ""
    log.info("downloading %s: %s%s bytes done", shown, f"{size:,}", of_total)
    reported = time.monotonic()
    with part.open("ab") as stream:
        while not total or size < total:
            try:
                chunk = response.read1(_CHUNK)  # read would drop bytes received before a timeout
            except (OSError, HTTPException):
                return False
            if not chunk:
                return not total  # http.client does not report missing bytes
            stream.write(chunk)
            size += len(chunk)
            if time.monotonic() - reported > _REPORT_EVERY:
                reported = time.monotonic()
                log.info("%s%s bytes done", f"{size:,}", of_total)
    return True


def _check(part: Path, remote: RemoteFile) -> None:
    found = sha256_of(part)
    if found != remote.digest:
        size = part.stat().st_size
        part.unlink()
        raise UserError(
            f"{remote.shown} gave {size:,} bytes with sha256 {found} instead of {remote.digest};"
            f" check {remote.settings.url}, and change {remote.settings.sha256} only if you trust"
            " this file."
        )
