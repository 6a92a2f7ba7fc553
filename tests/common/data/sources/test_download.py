"""Specification of `download`: a file by URL, fetched once, resumed and checked."""

import gzip
import hashlib
import io
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.config.defaults import default_config
from common.data.prepared.prepared import prepare
from common.data.sources import download
from common.data.sources.open import Source, open_source
from common.program.errors import UserError
from tests.conftest import ROOT

MISSING = "0" * 64


class Server(ThreadingHTTPServer):
    """Serves one content under every path and notes what it was asked for."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.ranges = True
        self.headers = {"ETag": '"first"'}
        self.states_length = True
        self.breaks_after: list[int] = []  # bytes of the next answers, then whole ones
        self.status = 200
        self.waits = threading.Event()
        self.waits.set()
        self.asked: list[tuple[str, str]] = []  # (Range, If-Range) of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Clients that end are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range", "")
        condition = self.headers.get("If-Range", "")
        server.asked.append((asked, condition))
        if server.status != 200:
            self.send_error(server.status)
            return
        same = condition in ("", server.headers.get("ETag"), server.headers.get("Last-Modified"))
        begin = int(asked[6:-1]) if asked and server.ranges and same else 0
        if begin >= len(server.content) and begin:
            self.send_error(416)
            return
        rest = server.content[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            last = len(server.content) - 1
            self.send_header("Content-Range", f"bytes {begin}-{last}/{last + 1}")
        if server.states_length:
            self.send_header("Content-Length", str(len(rest)))
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if server.breaks_after:
            self.wfile.write(rest[: server.breaks_after.pop(0)])
            self.wfile.flush()
            server.waits.wait(timeout=60)
            self.close_connection = True
            return
        self.wfile.write(rest)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def packed(*names: str) -> bytes:
    image, stream = io.BytesIO(), io.BytesIO()
    Image.new("L", (3, 2), 7).save(image, "png")
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names or ("A/a.png", "B/b.png"):
            archive.writestr(name, image.getvalue())
        archive.writestr("notes.txt", bytes(range(256)) * 1000)  # some length to break off in
    return stream.getvalue()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(packed()) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.waits.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def opened(tmp_path, server) -> Callable[..., Source]:
    """Opens a URL with a cache of its own; the checksum is that of what the server has."""

    def make(url: str = "", sha256: str | None = None) -> Source:
        data = default_config().data
        right = hashlib.sha256(server.content).hexdigest()
        data.url = url or f"{server.url}/sets/scans.zip"
        data.sha256 = right if sha256 is None else sha256
        data.cache_dir = str(tmp_path / "cache")
        return open_source(data)

    return make


def downloads(tmp_path: Path) -> list[str]:
    found = (tmp_path / "cache").glob("downloads/*/*")
    return sorted(path.name for path in found if path.name != ".lock")


# What it opens


def test_an_archive_is_fetched_and_opened(opened, server, tmp_path):
    source = opened()
    assert source.name == f"{server.url}/sets/scans.zip"
    assert source.classes == ("A", "B")
    assert source.splits["train"][0].read().pixels.shape == (2, 3, 1)
    assert downloads(tmp_path) == ["scans.zip"]


def test_an_npz_file(opened, server):
    stream = io.BytesIO()
    np.savez(stream, train_images=np.zeros((2, 4, 3), np.uint8), train_labels=np.array([0, 1]))
    server.content = stream.getvalue()
    assert opened(f"{server.url}/pneumoniamnist.npz?download=1").classes == ("0", "1")


def test_a_volume(opened, server):
    volume = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    server.content = gzip.compress(volume.to_bytes())
    assert len(opened(f"{server.url}/scan.nii.gz").splits["train"]) == 4


def test_a_file_on_this_machine(opened, tmp_path):
    (tmp_path / "my scans.zip").write_bytes(packed())
    url = (tmp_path / "my scans.zip").as_uri()
    digest = hashlib.sha256(packed()).hexdigest()
    assert opened(url, digest).classes == ("A", "B")
    assert downloads(tmp_path) == ["my_scans.zip"]


def test_a_checksum_in_capitals_with_blanks_is_one(opened, server):
    digest = hashlib.sha256(server.content).hexdigest()
    assert opened(sha256=f" {digest.upper()}\n").classes == ("A", "B")


# What is fetched, and when


def test_nothing_is_fetched_before_the_contents_are_asked_for(opened, server, tmp_path):
    assert opened().fingerprint
    assert not server.asked
    assert not (tmp_path / "cache").exists()


def test_it_is_fetched_once(opened, server):
    opened().contents()
    opened().contents()
    assert len(server.asked) == 1


def test_a_prepared_set_needs_neither_the_file_nor_the_network(server, tmp_path):
    data = default_config().data
    data.update(url=f"{server.url}/x.zip", cache_dir=str(tmp_path / "cache"), image_size=4)
    data.sha256 = hashlib.sha256(server.content).hexdigest()
    before = prepare(data).card
    for folder in ("archives", "downloads"):
        shutil.rmtree(tmp_path / "cache" / folder)
    server.status = 500
    assert prepare(data).card == before


def test_the_fingerprint_is_that_of_the_checksum_and_the_name(opened, server):
    first = opened().fingerprint
    assert opened("https://elsewhere.org/scans.zip").fingerprint == first
    assert opened(f"{server.url}/other.zip").fingerprint != first
    assert opened(sha256=MISSING).fingerprint != first


# Interruptions


@pytest.mark.parametrize("validator", [("ETag", '"v1"'), ("Last-Modified", "Sun, 22 Nov 2026")])
def test_a_connection_that_breaks_off_is_resumed(opened, server, validator):
    server.headers = dict([validator])
    server.breaks_after = [1000, 500]
    assert opened().classes == ("A", "B")
    asked = [("", ""), ("bytes=1000-", validator[1]), ("bytes=1500-", validator[1])]
    assert server.asked == asked


def test_a_server_without_ranges_starts_over(opened, server):
    server.ranges, server.breaks_after = False, [1000]
    assert opened().classes == ("A", "B")
    assert [asked for asked, _ in server.asked] == ["", "bytes=1000-"]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_way_to_tell_versions_it_starts_over(opened, server, headers):
    server.headers, server.breaks_after = headers, [1000]
    assert opened().classes == ("A", "B")
    assert server.asked == [("", ""), ("", "")]


def test_a_file_that_has_changed_meanwhile_is_fetched_from_its_beginning(opened, server, tmp_path):
    whole, server.content = server.content, b"x" * 50_000
    server.breaks_after = [1000] * 5
    digest = hashlib.sha256(whole).hexdigest()
    with pytest.raises(UserError, match="broke off 5 times"):
        opened(sha256=digest).contents()
    server.content, server.headers = whole, {"ETag": '"second"'}
    assert opened(sha256=digest).classes == ("A", "B")
    assert downloads(tmp_path) == ["scans.zip"]


def test_a_connection_that_keeps_breaking_off_is_told_and_resumed_at_the_next_start(
    opened, server, tmp_path
):
    server.breaks_after = [1000] * 5
    with pytest.raises(UserError, match=r"scans\.zip broke off 5 times, now after 5,000 bytes"):
        opened().contents()
    assert downloads(tmp_path) == ["scans.zip.part", "scans.zip.part.validator"]
    assert opened().classes == ("A", "B")
    assert server.asked[-1] == ("bytes=5000-", '"first"')
    assert downloads(tmp_path) == ["scans.zip"]


def test_what_a_killed_process_fetched_is_resumed(opened, server, tmp_path):
    server.breaks_after = [5000]
    server.waits.clear()
    program = (
        "import sys\n"
        "from common.data.sources.open import open_source\n"
        "from common.config.defaults import default_config\n"
        "data = default_config().data\n"
        "data.url, data.sha256, data.cache_dir = sys.argv[1:]\n"
        "open_source(data).contents()\n"
    )
    digest = hashlib.sha256(server.content).hexdigest()
    arguments = [f"{server.url}/scans.zip", digest, str(tmp_path / "cache")]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT)
    part = tmp_path / "cache" / "downloads" / digest[:24] / "scans.zip.part"
    pause = threading.Event()
    for _ in range(600):
        if process.poll() is not None or (part.exists() and part.stat().st_size):
            break
        pause.wait(0.1)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    begin = part.stat().st_size
    assert 0 < begin <= 5000
    server.waits.set()
    assert opened(arguments[0]).classes == ("A", "B")
    assert server.asked[1:] == [(f"bytes={begin}-", '"first"')]


def test_a_part_that_is_whole_already_is_taken(opened, server, tmp_path):
    folder = tmp_path / "cache" / "downloads" / hashlib.sha256(server.content).hexdigest()[:24]
    folder.mkdir(parents=True)
    (folder / "scans.zip.part").write_bytes(server.content)
    (folder / "scans.zip.part.validator").write_text('"first"')
    assert opened().classes == ("A", "B")
    assert server.asked == [(f"bytes={len(server.content)}-", '"first"')]


def test_a_part_that_a_crash_has_damaged_is_fetched_anew(opened, server, tmp_path):
    folder = tmp_path / "cache" / "downloads" / hashlib.sha256(server.content).hexdigest()[:24]
    folder.mkdir(parents=True)
    (folder / "scans.zip.part").write_bytes(bytes(1000))
    (folder / "scans.zip.part.validator").write_text('"first"')
    assert opened().classes == ("A", "B")
    assert server.asked == [("bytes=1000-", '"first"'), ("", "")]


def test_a_second_process_waits_for_the_file_of_the_first(opened, server):
    server.breaks_after = [1000]
    server.waits.clear()
    sources = [opened(), opened()]
    threads = [threading.Thread(target=source.contents) for source in sources]
    threads[0].start()
    while not server.asked:
        pass
    threads[1].start()
    server.waits.set()
    for thread in threads:
        thread.join(timeout=60)
    assert [source.classes for source in sources] == [("A", "B")] * 2
    assert len(server.asked) == 2  # of the first: it broke off once


# What is refused


def test_another_file_is_refused_with_its_checksum_and_not_kept(opened, server, tmp_path):
    found = hashlib.sha256(server.content).hexdigest()
    size = f"{len(server.content):,}"
    sentence = rf"scans\.zip gave {size} bytes with sha256 {found} instead of {MISSING}; check"
    with pytest.raises(UserError, match=sentence):
        opened(sha256=MISSING).contents()
    assert downloads(tmp_path) == ["scans.zip.part.validator"]


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, MISSING[1:]])
def test_a_url_needs_a_checksum(opened, server, sha256):
    with pytest.raises(UserError, match=r"config\.data\.sha256 is .* by sha256sum scans\.zip"):
        opened(sha256=sha256)
    assert not server.asked


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://example.org/scans.zip", "it must begin with http, https, file and ://"),
        ("scans.zip", r"with --config\.data\.dir"),
        ("http://[::1/scans.zip", "not a URL"),
        ("https://example.org/", "does not end in the name of a file that can be opened"),
        ("https://example.org/scans.tar.gz", "pack a folder as a zip archive"),
        ("https://example.org/scans.zip/", "gave|can't be downloaded"),
    ],
)
def test_a_url_that_names_no_file_is_refused(opened, url, sentence, monkeypatch):
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(download, "urlopen", unreachable)
    with pytest.raises(UserError, match=sentence):
        opened(url).contents()


@pytest.mark.parametrize(
    ("status", "sentence"), [(404, "404 Not Found"), (403, "403"), (500, "500"), (416, "416")]
)
def test_a_refusal_of_the_server_is_told(opened, server, status, sentence):
    server.status = status
    with pytest.raises(UserError, match=rf"scans\.zip can't be downloaded: {sentence}"):
        opened().contents()


def test_a_server_that_is_not_there_is_told(opened, server):
    url = f"{server.url}/scans.zip"
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"scans\.zip can't be downloaded: Connection refused"):
        opened(url).contents()


def test_a_file_that_is_not_there_is_told(opened, tmp_path):
    with pytest.raises(UserError, match="can't be downloaded: No such file"):
        opened((tmp_path / "gone.zip").as_uri()).contents()


def test_a_server_that_never_answers_is_told(opened, monkeypatch):
    import socket

    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/scans.zip"
        with pytest.raises(UserError, match="can't be downloaded: timed out"):
            opened(url, MISSING).contents()


def test_a_server_that_falls_silent_is_told(opened, server, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    server.breaks_after = [1000] * 5
    server.waits.clear()
    with pytest.raises(UserError, match="broke off 5 times, now after 5,000 bytes"):
        opened().contents()


def test_a_server_that_speaks_something_else_is_told(opened, monkeypatch):
    import socketserver

    class Other(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{other.server_address[1]}/scans.zip"
        with pytest.raises(UserError, match="can't be downloaded: SSH"):
            opened(url, MISSING).contents()
        thread.join()


def test_an_answer_without_a_length_is_fetched_to_its_end(opened, server):
    server.states_length = False
    assert opened().classes == ("A", "B")


def test_a_disk_that_is_too_small_is_named_before_fetching(opened, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="has 10 left; free space or choose"):
        opened().contents()


def test_a_disk_that_fills_meanwhile_is_named(opened, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    with pytest.raises(UserError, match=r"scans\.zip can't be written: No space left on device"):
        opened().contents()


def test_a_password_in_the_url_is_never_shown(opened, server):
    url = f"http://me:secret@127.0.0.1:{server.server_port}/scans.zip?token=secret"
    assert opened(url).name == f"{server.url}/scans.zip"
    with pytest.raises(UserError) as caught:
        opened(url).contents()
    assert "secret" not in str(caught.value)


def test_what_is_wrong_with_the_file_is_told(opened, server):
    server.content = b"<html>Please log in</html>"
    with pytest.raises(UserError, match=r"scans\.zip is damaged or not a zip archive"):
        opened().contents()


def test_a_name_cannot_lead_out_of_the_cache(opened, server, tmp_path):
    opened(f"{server.url}/..%2F..%2F..%2Fevil.zip").contents()
    assert downloads(tmp_path) == ["evil.zip"]
