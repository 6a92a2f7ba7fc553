"""Random bytes and shapes at every reader: pixels or a UserError, nothing else and nowhere else."""

import gzip
import io
import zipfile

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from common.config.defaults import default_config
from common.data.fit import fit_image, fit_mask
from common.data.records import Decoded
from common.data.settings import DataSettings
from common.data.sources.open import open_path
from common.program.errors import UserError
from tests.common.data.sources.test_broken_inputs import dicom, encoded, npz

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 20), np.uint8)
VOLUME = RNG.integers(0, 2, (6, 5, 3)).astype(np.int16)


def _zip():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A/x.png", encoded(NOISE))
        archive.writestr("B/y.png", encoded(NOISE))
    return stream.getvalue()


def _nifti():
    return nibabel.Nifti1Image(VOLUME, np.diag([-1, 2, 3, 1])).to_bytes()


def _idx():
    return b"\0\0\x08\x03" + bytes((0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4)) + bytes(range(24))


# A whole file of each kind, under the name by which it is recognised.
WHOLE = {
    "A/x.png": encoded(NOISE),
    "A/x.jpg": encoded(NOISE, "JPEG"),
    "A/x.tif": encoded(NOISE.astype(np.uint16) * 257, "TIFF"),
    "A/x.gif": encoded(NOISE, "GIF"),
    "A/x.webp": encoded(NOISE, "WEBP"),
    "A/x.pgm": encoded(NOISE, "PPM"),
    "A/x.bmp": encoded(NOISE, "BMP"),
    "A/x.jp2": encoded(NOISE, "JPEG2000"),
    "A/x.dcm": dicom(PixelData=NOISE[:8, :16].tobytes()),
    "A/x.nii": _nifti(),
    "A/x.nii.gz": gzip.compress(_nifti()),
    "masks/x.png": encoded(NOISE // 128),
    "x.npz": npz(train_images=NOISE[None], train_labels=np.zeros(1, int)),
    "train-images-idx3-ubyte": _idx(),
    "labels.csv": b"file,label,group\nA/a.png,x,1\n",
    "x.zip": _zip(),
}


@st.composite
def damaged(draw, content):
    """Draws a file that was cut, overwritten here and there, stretched, or is noise altogether."""
    damage = draw(st.sampled_from(["cut", "overwrite", "insert", "noise"]))
    place = draw(st.integers(0, len(content)))
    if damage == "cut":
        return content[:place]
    if damage == "noise":
        return draw(st.binary(max_size=400))
    some = draw(st.binary(min_size=1, max_size=8))
    return content[:place] + some + content[place + (len(some) if damage == "overwrite" else 0) :]


def read_everything(path, cache):
    """Opens and decodes all there is; returns how many images there were."""
    data = default_config().data
    data.update(cache_dir=str(cache))
    num = 0
    for records in open_path(path, DataSettings.of(data)).splits.values():
        for record in records:
            decoded = record.read()
            assert isinstance(decoded, Decoded) and decoded.pixels.dtype == np.uint8
            assert isinstance(record.read_group(), str)
            if record.read_mask:
                assert record.read_mask().max() <= 1
            num += 1
    return num


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The data's folder, the cache, and what must stay as it is."""
    root = tmp_path_factory.mktemp("random")
    for name in ("data", "cache"):
        (root / name).mkdir()
    return root


def written(root):
    return {path for path in root.rglob("*") if root / "cache" not in path.parents}


@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_file_is_read_or_refused(name, places):
    data = places / "data" / name.replace("/", "_")
    file = data / name
    file.parent.mkdir(parents=True)
    if name == "masks/x.png":
        (data / "images").mkdir()
        (data / "images" / "x.png").write_bytes(encoded(NOISE))
    if name == "labels.csv":
        (data / "A").mkdir()
        (data / "A" / "a.png").write_bytes(encoded(NOISE))
    if name.startswith("train-"):
        (data / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02\0\1")
    path = file if name in ("x.npz", "x.zip") else data

    file.write_bytes(WHOLE[name])
    assert read_everything(path, places / "cache") >= 1
    before = written(places)

    @settings(
        max_examples=40,
        deadline=20_000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(WHOLE[name]))
    def check(content):
        file.write_bytes(content)
        try:
            read_everything(path, places / "cache")
        except UserError as error:
            assert str(error).strip()
        assert written(places) == before
        assert not list((places / "cache").rglob(".incomplete-*"))

    check()


MODES = ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F", "HSV", "LAB")


@settings(max_examples=80, deadline=20_000, database=None)
@given(
    mode=st.sampled_from(MODES),
    kind=st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000"]),
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    size=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["stretch", "pad", "crop"]),
)
def test_every_shape_and_mode_becomes_a_square(
    tmp_path_factory, mode, kind, width, height, size, channels, fit
):
    root = tmp_path_factory.mktemp("shape")
    (root / "A").mkdir()
    try:
        Image.new(mode, (width, height)).save(root / "A" / "x.png", kind)
    except (OSError, KeyError, ValueError):
        return  # the format does not keep this mode
    data = default_config().data
    data.update(cache_dir=str(root / "cache"))
    try:
        decoded = open_path(root, DataSettings.of(data)).splits["train"][0].read()
    except UserError as error:
        assert "x.png" in str(error)
        return
    assert decoded.pixels.shape[:2] == (height, width)
    fitted = fit_image(decoded.pixels, size, channels, fit)
    assert fitted.shape == (size, size, channels) and fitted.dtype == np.uint8
    assert fit_mask(decoded.pixels[..., 0] // 128, size, fit).shape == (size, size)
