"""Training, resuming, evaluating and reporting with workdir and data in an object store (S3)."""

import re
import signal
import time

import pytest

from tests.checkpoint_leaves import read_leaves
from tests.test_processes import free_port

pytestmark = pytest.mark.slow

SETTINGS = (
    "--config=configs/small_cnn_chest_xray.py:tiny",
    "--config.data.splits=50,25,25",
    "--config.optimizer.decay=none",  # one to the end of training would end elsewhere
    "--config.train.checkpoint_every=2",
    "--config.train.eval_every=0",
    "--config.train.best_metric=",
    "--config.train.picture_every=0",
    "--config.train.log_every=1",
)
DATA = "--config.data.dir=s3://bucket/scans"
WORKDIR = "--workdir=s3://bucket/run"


@pytest.fixture
def store(monkeypatch, images):
    """A server with S3's own interface, and the images in it; it can be stopped and started."""
    moto = pytest.importorskip("moto.server", reason="needs pip install -e '.[storage-test]'")
    s3fs = pytest.importorskip("s3fs", reason="needs pip install -e '.[storage-test]'")
    port = free_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "of the test",
        "AWS_SECRET_ACCESS_KEY": "of the test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    server = moto.ThreadedMotoServer(port=port)
    server.start()
    files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    files.mkdir("bucket")
    files.put(str(images), "bucket/scans", recursive=True)
    yield server, files
    files.rm("bucket", recursive=True)  # servers of one process have the same buckets
    server.stop()


@pytest.fixture
def images(tmp_path):
    """A folder of images of two classes."""
    numpy, picture = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    draw = numpy.random.default_rng(0)
    for number in range(32):
        file = tmp_path / "scans" / ("ill" if number % 2 else "well") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 128, (32, 32)) + 127 * (number % 2)
        picture.fromarray(pixels.astype("uint8")).save(file)
    return tmp_path / "scans"


@pytest.fixture
def on_store(start, tmp_path):
    """Runs launch.py on a machine of its own, whose cache is empty; returns what it said."""

    def run(machine, *flags, code=0, meanwhile=lambda process: None):
        process = start("launch.py", *flags, TRIPTYCH_CACHE=str(tmp_path / machine))
        meanwhile(process)
        said = "".join(process.communicate(timeout=900))
        assert process.returncode == code, said
        return said

    return run


def test_a_run_goes_from_machine_to_machine(store, on_store, launch, images, tmp_path):
    _, files = store
    on_store("first", *SETTINGS, DATA, WORKDIR, "--config.train.num_steps=4")
    assert files.exists("bucket/run/checkpoints/4/_CHECKPOINT_METADATA")
    said = on_store("second", *SETTINGS, DATA, WORKDIR, "--config.train.num_steps=6")
    assert "resuming from step 4" in said
    assert not files.exists("bucket/run/checkpoints/2")  # as in a folder
    on_store("third", "--mode=evaluate", WORKDIR)
    assert files.exists("bucket/run/evaluation/evaluation.json")
    on_store("third", "--mode=report", WORKDIR)
    assert b"</html>" in files.cat("bucket/run/report.html")
    files.get("bucket/run", str(tmp_path / "got"), recursive=True)
    here = tmp_path / "here"
    launch(
        *SETTINGS, f"--config.data.dir={images}", f"--workdir={here}", "--config.train.num_steps=6"
    )
    there, wanted = read_leaves(tmp_path / "got", 6), read_leaves(here, 6)
    assert there.keys() == wanted.keys()
    assert not [name for name in wanted if there[name].tobytes() != wanted[name].tobytes()]


def test_a_store_that_fails_for_ten_seconds_loses_nothing(store, on_store):
    server, files = store

    def away(process):
        for line in process.stderr:
            if re.search("compiled the training step", line):
                break
        server.stop()
        time.sleep(10)
        server.start()

    said = on_store(
        "first", *SETTINGS, DATA, WORKDIR, "--config.train.num_steps=40", meanwhile=away
    )
    assert "is finished" in said
    assert files.exists("bucket/run/checkpoints/40/_CHECKPOINT_METADATA")
    assert files.cat("bucket/run/metrics.jsonl").count(b'"train/') >= 40


def test_a_run_that_is_killed_resumes_from_what_the_store_has(store, on_store):
    _, files = store
    steps = ("--config.train.num_steps=400", "--config.train.checkpoint_every=100")

    def kill(process):
        end = time.monotonic() + 600
        while not files.glob("bucket/run/checkpoints/*/_CHECKPOINT_METADATA"):
            assert time.monotonic() < end and process.poll() is None, process.communicate()
            time.sleep(0.2)
        process.kill()

    on_store("first", *SETTINGS, DATA, WORKDIR, *steps, meanwhile=kill, code=-signal.SIGKILL)
    said = on_store("second", *SETTINGS, DATA, WORKDIR, *steps)
    assert re.search("resuming from step [0-9]+", said) and "damaged" not in said
