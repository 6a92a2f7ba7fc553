"""A file by URL: fetched into the cache once, resumed after an interruption, checked, opened."""

import fcntl
import hashlib
import re
import shutil
import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import Request, urlopen
from urllib.response import addinfourl

from ml_collections import ConfigDict

from common.cache import cache_dir
from common.data.records import Contents, Once, Source, fingerprint
from common.data.scratch import take
from common.data.slices import EXTENSIONS
from common.errors import UserError
from common.log import log

_SCHEMES = ("http", "https", "file")
_ENDINGS = (".zip", ".npz", *EXTENSIONS)
_TIMEOUT = 30.0  # seconds without an answer
_ATTEMPTS = 5  # connections that may break off before the user hears of it
_CHUNK = 2**20
_REPORT_EVERY = 10.0  # seconds
_PARTIAL, _NOT_SATISFIABLE = 206, 416

Response = HTTPResponse | addinfourl  # the latter of a file on this machine


def open_url(data: ConfigDict) -> Source:
    """Opens the file at a URL by its type, as `open_path` does; fetches nothing yet.

    Args:
      data: `url` of http, https or file, whose path ends in a file's name; `sha256` of the file;
        `cache_dir`, and what `open_path` uses.

    Raises:
      UserError: a setting can't be used; from the contents also that the file can't be fetched or
        is another one, and all that is wrong with it.
    """
    split = _parse(data.url)
    name = re.sub(r"[^\w.-]", "_", PurePosixPath(unquote(split.path)).name)
    # What stands before the host or behind the path may be a password.
    shown = f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}"
    if not name.lower().endswith(_ENDINGS):
        raise UserError(
            f"config.data.url is {shown}, whose path does not end in the name of a file that can be"
            f" opened ({', '.join(_ENDINGS)}); pack a folder as a zip archive."
        )
    digest = data.sha256.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise UserError(
            f"config.data.sha256 is '{data.sha256}', but config.data.url needs the 64 digits that"
            " tell whether the right file came; take them from where it is published, or from a"
            f" copy that you trust, by sha256sum {name}"
        )
    file = cache_dir(data.cache_dir) / "downloads" / digest[:24] / name

    def contents() -> Contents:
        from common.data.sources import open_path

        if not file.exists():
            _fetch(data.url, shown, file, digest)
        return open_path(file, data).contents()

    return Source(shown, fingerprint("url", digest, name), False, Once(contents))


def _parse(url: str) -> SplitResult:
    try:
        split = urlsplit(url)
    except ValueError as error:
        raise UserError(f"config.data.url is '{url}', which is no URL ({error}).") from error
    if split.scheme not in _SCHEMES:
        raise UserError(
            f"config.data.url is '{url}'; it begins with {', '.join(_SCHEMES)} and ://, and a file"
            " on this machine is named by --config.data.dir instead."
        )
    return split


def _fetch(url: str, shown: str, file: Path, digest: str) -> None:
    """Fetches a file that is there under its name only when it is whole and the right one."""
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (file.parent / ".lock").open("a") as lock:
            if not take(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                log.info("waiting for the process that fetches %s", shown)
                take(lock, fcntl.LOCK_EX)
            if file.exists():
                return
            resumes = part.exists()
            _fetch_part(url, shown, part)
            if resumes and _sha256(part) != digest:  # by a file that a crash has left damaged?
                part.unlink()
                _fetch_part(url, shown, part)
            _check(part, shown, digest)
            part.rename(file)
            _validator_file(part).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{file} can't be written: {error.strerror}; make room or check permissions, or choose"
            " another --config.data.cache_dir"
        ) from error


def _fetch_part(url: str, shown: str, part: Path) -> None:
    for _ in range(_ATTEMPTS):
        if _connect(url, shown, part):
            return
        log.info("%s broke off", shown)
    raise UserError(
        f"{shown} broke off {_ATTEMPTS} times, now after {part.stat().st_size:,} bytes; start again"
        " to go on from there, or fetch it by other means and set --config.data.dir."
    )


def _connect(url: str, shown: str, part: Path) -> bool:
    """Fetches the rest of a file, or all of it where the server has changed it or can't resume.

    Returns:
      Whether the file is whole now; else the connection broke off.
    """
    request = Request(url, headers={"User-Agent": "triptych"})
    begin = part.stat().st_size if part.exists() else 0
    if begin and _validator_file(part).exists():
        request.add_header("Range", f"bytes={begin}-")
        request.add_header("If-Range", _validator_file(part).read_text())
    try:
        response = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code == _NOT_SATISFIABLE and request.has_header("Range"):
                return True  # nothing is left to be fetched
            raise _unreachable(shown, f"{error.code} {error.reason}") from error
    except URLError as error:
        raise _unreachable(shown, getattr(error.reason, "strerror", "") or error.reason) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(shown, error) from error
    with response:
        resumed = response.status == _PARTIAL
        begin = begin if resumed else 0
        if not resumed:
            _note_validator(response, part)
        return _receive(response, shown, part, begin)


def _unreachable(shown: str, reason: object) -> UserError:
    return UserError(
        f"{shown} can't be fetched: {reason}; check --config.data.url and the network, or fetch it"
        " by other means and set --config.data.dir."
    )


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.validator")


def _note_validator(response: Response, part: Path) -> None:
    """Keeps what tells one version of the file from another (RFC 9110, 13.1.5); else no resuming.

    Weak entity tags do not: they stay when bytes change.
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
            f"{shown} has {total:,} bytes and {part.parent} has {free:,} left; make room or choose"
            " another --config.data.cache_dir"
        )
    size, of_total = begin, f" of {total:,}" if total else ""
    log.info("fetching %s: %s%s bytes are there", shown, f"{size:,}", of_total)
    reported = time.monotonic()
    with part.open("ab") as stream:
        while not total or size < total:
            try:
                chunk = response.read1(_CHUNK)  # read would drop what came before a timeout
            except (OSError, HTTPException):
                return False
            if not chunk:
                return not total  # http.client does not say that something is missing
            stream.write(chunk)
            size += len(chunk)
            if time.monotonic() - reported > _REPORT_EVERY:
                reported = time.monotonic()
                log.info("%s%s bytes are there", f"{size:,}", of_total)
    return True


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(part: Path, shown: str, digest: str) -> None:
    found = _sha256(part)
    if found != digest:
        size = part.stat().st_size
        part.unlink()
        raise UserError(
            f"{shown} gave {size:,} bytes of sha256 {found} rather than {digest}; check"
            " config.data.url, and change config.data.sha256 only if you trust what came."
        )
