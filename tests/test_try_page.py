"""The page that --mode=export writes: it draws and classifies in Chromium, without a network."""

import functools
import http.server
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import triptych
from common.export.write import FACTS, ONNX
from tests.browser import browser, serious_faults
from tests.untrained import untrained

onnxruntime = pytest.importorskip(
    "onnxruntime", reason="no onnxruntime: install it with pip install -e '.[export]'"
)

READY = """
const [done] = arguments, wait = () => document.querySelector("#said").textContent
  .startsWith("Loading") ? setTimeout(wait, 50) : done(document.querySelector("#said").textContent);
wait();
"""
GIVEN = """
const plain = Object.entries(window.given).map(([name, values]) => [name, Array.from(values)]);
return Object.fromEntries(plain);
"""
PIXELS = """
const canvas = document.querySelector("#picture");
return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
"""
ANSWER = """
return [...document.querySelectorAll("[role=meter]")].map((bar) =>
  [bar.ariaLabel, Number(bar.getAttribute("aria-valuenow"))]);
"""
# Does what the second argument says, and waits for a picture that was drawn from something else.
CHANGE = """
const [selector, value, done] = arguments, before = window.given;
const input = document.querySelector(selector);
if (value === null) input.click();
else { input.value = value; input.dispatchEvent(new Event("input", { bubbles: true })); }
const wait = () => (window.given === before ? setTimeout(wait, 20) : done());
wait();
"""
CHOOSE = """
const [address, done] = arguments, answer = document.querySelector("#answer");
fetch(address).then((found) => found.blob()).then((blob) => {
  const files = new DataTransfer(), input = document.querySelector("input[type=file]");
  files.items.add(new File([blob], "a.png", { type: "image/png" }));
  new MutationObserver(() => done()).observe(answer, { childList: true });
  input.files = files.files;
  input.dispatchEvent(new Event("change"));
});
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *said):
        pass


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an exported generator and two classifiers, and the address that serves it."""
    package = Path(os.environ.get("ONNXRUNTIME_WEB", "node_modules/onnxruntime-web"))
    if not package.is_dir():
        pytest.skip("no onnxruntime-web (npm install onnxruntime-web, or ONNXRUNTIME_WEB=FOLDER)")
    folder = tmp_path_factory.mktemp("served")
    smallest = {"data": {"image_size": 32}, "model": {"generator": {"width": 4}}}
    models = {
        "gan": ("acgan_covid_best:tiny", smallest),
        "judge": ("small_cnn_chest_xray:tiny", {}),
        "colour": ("small_cnn_chest_xray:tiny", {"data": {"channels": 3, "fit": "pad"}}),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triptych, "_start", lambda: None)
        for name, (config, changes) in models.items():
            workdir = tmp_path_factory.mktemp("runs") / name
            untrained(triptych.load_config(config, **changes), workdir)
            triptych.open_run(workdir).export(folder / name)
            (folder / name / "node_modules").mkdir()
            (folder / name / "node_modules" / package.name).symlink_to(package.resolve())
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium(place):
    with browser() as session:
        yield session


@pytest.fixture
def opened(chromium, place):
    """Returns address -> what the page says once it is ready; it complains of nothing."""

    def of(address):
        chromium.visit(f"{place[1]}/{address}")
        return chromium.wait_for(READY)

    yield of
    assert chromium.complaints() == []
    assert all(url.startswith((place[1], "blob:")) for url in chromium.requests())


def by_onnx(folder, given):
    """Returns what Python's onnxruntime computes from what the page computed from."""
    facts = json.loads((folder / FACTS).read_text())["inputs"]
    inputs = {
        name: np.reshape(np.array(values, facts[name]["dtype"]), (1, *facts[name]["shape"][1:]))
        for name, values in given.items()
    }
    return onnxruntime.InferenceSession(str(folder / ONNX)).run(None, inputs)[0][0]


def shown(chromium, size=32):
    return np.reshape(np.array(chromium.run(PIXELS), np.uint8), (size, size, 4))[..., :3]


def assert_drawn(chromium, folder):
    """The picture is what the generator draws from what the page gave it."""
    expected = 127.5 * (by_onnx(folder, chromium.run(GIVEN)) + 1)
    assert np.abs(shown(chromium) - expected).max() <= 0.51  # of rounding


def test_it_draws_what_onnxruntime_draws_for_each_class_and_direction(chromium, place, opened):
    folder = place[0] / "gan"
    assert opened("gan/try.html").startswith("A generator that was trained on covid_ct phantoms")
    assert_drawn(chromium, folder)
    first = chromium.run(GIVEN)
    assert first["labels"] == [0]
    chromium.wait_for(CHANGE, "#of_class select", "NonCOVID")
    assert chromium.run(GIVEN) == {**first, "labels": [1]}
    assert_drawn(chromium, folder)
    chromium.wait_for(CHANGE, "#directions input", "0.5")
    assert chromium.run(GIVEN)["latents"] != first["latents"]
    assert_drawn(chromium, folder)


def test_between_two_pictures_it_goes_along_the_sphere(chromium, opened):
    opened("gan/try.html")
    ends = []
    for way in (0, 1, 0.5):
        chromium.wait_for(CHANGE, "#way", str(way))
        ends.append(np.array(chromium.run(GIVEN)["latents"]))
    one, other, middle = ends
    np.testing.assert_allclose(one @ middle / (one @ one), other @ middle / (other @ other), 0.2)
    lengths = [np.linalg.norm(x) for x in (one, middle, other)]
    assert min(lengths[0], lengths[2]) * 0.9 < lengths[1] < max(lengths[0], lengths[2]) * 1.1
    chromium.wait_for(CHANGE, "#there", None)
    assert chromium.run("return document.querySelector('#way').value") == "1"
    assert np.abs(np.array(chromium.run(GIVEN)["latents"]) - other).max() > 0.1


def test_a_classifier_is_asked_what_is_drawn(chromium, place, opened):
    opened("gan/try.html?classifier=../judge")
    pixels = shown(chromium)[..., :1]
    shares = by_onnx(place[0] / "judge", {"images": pixels})
    answer = chromium.run(ANSWER)
    assert [name for name, _ in answer] == ["NORMAL", "PNEUMONIA"]
    np.testing.assert_allclose([share for _, share in answer], 100 * shares, atol=0.06)


@pytest.mark.parametrize(("name", "channels"), [("judge", 1), ("colour", 3)])
def test_a_classifier_names_the_class_of_a_file(chromium, place, opened, name, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    pixels = pixels if channels == 3 else pixels[..., :1].repeat(3, -1)
    Image.fromarray(pixels).save(place[0] / f"{name}.png")
    assert opened(f"{name}/try.html").startswith("A classifier of NORMAL, PNEUMONIA, trained on")
    chromium.wait_for(CHOOSE, f"{place[1]}/{name}.png")
    np.testing.assert_array_equal(shown(chromium), pixels)
    shares = by_onnx(place[0] / name, {"images": pixels[..., :channels]})
    found = [share for _, share in chromium.run(ANSWER)]
    np.testing.assert_allclose(found, 100 * shares, atol=0.06)


def test_a_wide_picture_is_padded_as_the_run_padded_its_own(chromium, place, opened):
    Image.fromarray(np.full((32, 64, 3), 200, np.uint8)).save(place[0] / "wide.png")
    opened("colour/try.html")
    chromium.wait_for(CHOOSE, f"{place[1]}/wide.png")
    rows = shown(chromium)[:, 16].max(-1)
    assert not rows[:7].any() and not rows[-7:].any() and (rows[9:-9] == 200).all()


def test_what_is_missing_is_said(chromium, place):
    chromium.visit(f"{place[1]}/gan/try.html?classifier=../nowhere")
    assert "There is no model.json in ../nowhere." in chromium.wait_for(READY)
    shutil.copytree(
        place[0] / "judge", place[0] / "bare", ignore=shutil.ignore_patterns("node_modules")
    )
    chromium.visit(f"{place[1]}/bare/try.html")
    assert "run npm install onnxruntime-web" in chromium.wait_for(READY)
    chromium.complaints()


def test_it_has_no_serious_fault_of_accessibility(chromium, opened):
    opened("gan/try.html?classifier=../judge")
    assert serious_faults(chromium) == []
