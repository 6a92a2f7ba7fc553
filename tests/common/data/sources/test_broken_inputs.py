"""Whatever is wrong with the data, a person reads one sentence; only the cache is written to.

`launch.py` prints a UserError as one line and exits with 2 (tests/test_launch.py); here each broken
input has to become one. The readers' own tests know more about each.
"""

import gzip
import io
import pickle
import struct
import warnings
import zipfile
import zlib

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from common.config.defaults import default_config
from common.data.prepared.prepared import prepare
from common.program.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def encoded(pixels=GREY, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def png_header(width, height):
    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def zipped(**options):
    """Returns what makes an archive of (name or ZipInfo, content)."""

    def archive(*members):
        stream = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", **options) as file:
            warnings.simplefilter("ignore")  # zipfile warns of names that are there twice
            for name, content in members:
                file.writestr(name, content)
        return stream.getvalue()

    return archive


def symlink(name):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


def encrypted():
    archive = bytearray(zipped()(("A/x.png", encoded())))
    archive[6] |= 1  # the flag, in the member's header ...
    archive[archive.index(b"PK\x01\x02") + 8] |= 1  # ... and in the directory
    return bytes(archive)


def damaged_member():
    archive = bytearray(zipped()(("A/x.png", encoded())))
    archive[60] ^= 255
    return bytes(archive)


def dicom(**elements):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PixelRepresentation = 8, 8, 1, 0
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    for name, value in elements.items():
        setattr(data, name, value)
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def nifti(values):
    return nibabel.Nifti1Image(values, np.eye(4)).to_bytes()


def nifti_header(*shape):
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    content = bytearray(image.to_bytes())
    content[40:56] = struct.pack("<8h", len(shape), *shape, *[1] * (7 - len(shape)))
    return bytes(content)


def pair(mask=GREY // 64, image=GREY):
    return {"images/x.png": encoded(image), "masks/x.png": encoded(mask)}


def table(text, encoding="utf-8"):
    return {"labels.csv": text.encode(encoding), "a.png": encoded(), "b.png": encoded()}


LABELS = np.array([0, 1])
STACK = np.zeros((2, 4, 4), np.uint8)
IDX = b"\0\0\x08\x01\0\0\0\x02\0\1"
TWO = {"A/x.png": encoded(), "B/y.png": encoded()}
HU = np.zeros((8, 8), np.int16).tobytes()

# name: (files by path, or what makes them, settings of config.data beside dir, what the sentence
# says)
CASES = {
    # pictures
    "png cut short": ({"A/x.png": encoded(NOISE)[:900]}, {}, "x.png is damaged"),
    "jpeg cut short": ({"A/x.jpg": encoded(kind="JPEG")[:200]}, {}, "x.jpg"),
    "zero bytes": ({"A/x.png": b""}, {}, "x.png is empty"),
    "text as png": ({"A/x.png": b"hello"}, {}, "x.png is not a readable image"),
    "pdf as jpeg": ({"A/x.jpg": b"%PDF-1.7\n1 0 obj"}, {}, "x.jpg is not a readable image"),
    "60,000 pixels a side": ({"A/x.png": png_header(60_000, 60_000)}, {}, "3,600,000,000 pixels"),
    "animation": (
        {"A/x.gif": encoded(kind="GIF", save_all=True, append_images=[Image.new("L", (8, 8), 9)])},
        {},
        "holds 2 images",
    ),
    "nan in a tiff": (
        {"A/x.tif": encoded(np.full((4, 4), np.nan, np.float32), "TIFF")},
        {},
        "not numbers",
    ),
    "range without window": (
        {"A/x.tif": encoded(np.full((4, 4), 300.0, np.float32), "TIFF")},
        {},
        "data.window=",
    ),
    # folders
    "no folder": ({}, {"dir": "gone"}, "gone can't be opened"),
    "empty folder": ({"A/.keep": b""}, {}, "holds no image"),
    "no train": ({"test/A/x.png": encoded()}, {}, "none named train"),
    "class lacking in a split": (
        {**{f"train/{name}": content for name, content in TWO.items()}, "test/A/z.png": encoded()},
        {},
        "Class B has no image in the test split",
    ),
    "images beside folders": ({"x.png": encoded(), "A/y.png": encoded()}, {}, "both images"),
    "splits below classes": ({"A/train/x.png": encoded()}, {}, "splits belong above"),
    "a file of another kind": ({"x.h5": b"HDF"}, {"dir": "x.h5"}, "x.h5 is neither"),
    # arrays
    "pickle in an npz": (
        {"x.npz": npz(train_images=STACK, train_labels=np.array([{}, {}], object))},
        {"dir": "x.npz"},
        "never unpickled",
    ),
    "pickle as npz": ({"x.npz": pickle.dumps({})}, {"dir": "x.npz"}, "x.npz is damaged"),
    "npz without labels": ({"x.npz": npz(train_images=STACK)}, {"dir": "x.npz"}, "train_labels"),
    "npz cut short": (
        {"x.npz": npz(train_images=STACK, train_labels=LABELS)[:200]},
        {"dir": "x.npz"},
        "x.npz is damaged",
    ),
    "npz of floats": (
        {"x.npz": npz(train_images=STACK * 0.5, train_labels=LABELS)},
        {"dir": "x.npz"},
        "float64",
    ),
    "npz with too few labels": (
        {"x.npz": npz(train_images=STACK, train_labels=LABELS[:1])},
        {"dir": "x.npz"},
        "1 label for 2 images",
    ),
    "idx without images": ({"train-labels-idx1-ubyte": IDX}, {}, "train-images"),
    "idx of another type": (
        {"train-labels-idx1-ubyte": IDX, "train-images-idx3-ubyte": b"\0\0\x0d\x03" + bytes(12)},
        {},
        "not an IDX file",
    ),
    "idx cut short": (
        {"train-labels-idx1-ubyte": IDX[:-1], "train-images-idx3-ubyte": IDX},
        {},
        "train-",
    ),
    "idx not gzipped": (
        {"train-labels-idx1-ubyte.gz": b"no", "train-images-idx3-ubyte.gz": gzip.compress(IDX)},
        {},
        "train-",
    ),
    # archives
    "zip bomb": (
        {
            "x.zip": lambda: zipped(compression=zipfile.ZIP_DEFLATED, compresslevel=1)(
                ("A/x.png", bytes(2**28))
            )
        },
        {"dir": "x.zip"},
        "x.zip",
    ),
    "../ in a zip": ({"x.zip": zipped()(("../x.png", encoded()))}, {"dir": "x.zip"}, r"\.\./x.png"),
    "absolute path in a zip": (
        {"x.zip": zipped()(("/tmp/x.png", encoded()))},
        {"dir": "x.zip"},
        "/tmp/x.png",
    ),
    "link in a zip": ({"x.zip": zipped()((symlink("A/x.png"), "/etc"))}, {"dir": "x.zip"}, "link"),
    "encrypted zip": ({"x.zip": encrypted()}, {"dir": "x.zip"}, "encrypted|password"),
    "zip cut short": (
        {"x.zip": zipped()(("A/x.png", encoded()))[:-30]},
        {"dir": "x.zip"},
        "x.zip is damaged",
    ),
    "damaged member of a zip": ({"x.zip": damaged_member()}, {"dir": "x.zip"}, "x.zip"),
    "empty zip": ({"x.zip": zipped()()}, {"dir": "x.zip"}, "x.zip"),
    "one name twice in a zip": (
        {"x.zip": zipped()(("A/x.png", encoded()), ("A/x.png", encoded()))},
        {"dir": "x.zip"},
        "A/x.png",
    ),
    # DICOM, NIfTI
    "dicom without pixels": ({"A/x.dcm": dicom()}, {}, "x.dcm"),
    "dicom cut short": ({"A/x.dcm": dicom(PixelData=HU)[:-50]}, {}, "x.dcm"),
    "text as dicom": ({"A/x.dcm": b"hello"}, {}, "x.dcm"),
    "unknown dicom attribute as group": (
        {"A/x.dcm": dicom(PixelData=HU)},
        {"group": "dicom:Patient"},
        "Patient",
    ),
    "nan in a nifti": ({"A/x.nii": nifti(np.full((4, 4, 2), np.nan, np.float32))}, {}, "x.nii"),
    "nifti cut short": ({"A/x.nii": nifti(np.ones((4, 4, 2), np.int16))[:380]}, {}, "x.nii"),
    "nifti of four dimensions": ({"A/x.nii": nifti(np.ones((2,) * 4, np.int16))}, {}, "x.nii"),
    "huge nifti header": ({"A/x.nii": nifti_header(32767, 32767, 32767)}, {}, "x.nii"),
    "nifti not gzipped": ({"A/x.nii.gz": b"hello"}, {}, "x.nii.gz"),
    # pairs
    "image without mask": ({**pair(), "images/y.png": encoded()}, {}, "y"),
    "mask without image": ({**pair(), "masks/y.png": encoded()}, {}, "y"),
    "one stem twice": ({**pair(), "images/x.jpg": encoded(kind="JPEG")}, {}, r"x\.(png|jpg)"),
    "mask of another size": (pair(GREY[:4] // 64), {}, "8x4 pixels"),
    "unknown values in a mask": (pair(GREY), {}, "values 2, 3, 4"),
    "mask of 1 and 255": (
        pair(np.array([[0, 1], [255, 0]], np.uint8).repeat(4, 0).repeat(4, 1)),
        {},
        "255",
    ),
    "mask in colours": (pair(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)), {}, "colour mask"),
    "sorted pairs that differ in number": (
        {**pair(), "images/y.png": encoded()},
        {"pairs": "sorted"},
        "2",
    ),
    "meaning of mask values": (pair(), {"mask_values": "0,1"}, "data.mask_values is '0,1'"),
    # labels.csv
    "csv not in utf-8": (table("file,label\na.png,Ödem\n", "latin-1"), {}, "UTF-8"),
    "csv without label": (table("file,diagnosis\na.png,x\n"), {}, "file,label"),
    "csv names no file": (table("file,label\nc.png,x\n"), {}, "c.png"),
    "csv names a file twice": (table("file,label\na.png,x\na.png,y\n"), {}, "a.png"),
    "csv leaves the folder": (table("file,label\n../a.png,x\n"), {}, r"\.\./a.png"),
    "csv with an empty label": (table("file,label\na.png,\n"), {}, "Line 2"),
    "csv with an unknown split": (table("file,label,split\na.png,x,later\n"), {}, "later"),
    "csv without rows": (table("file,label\n"), {}, "labels.csv"),
    "label not in classes": (
        table("file,label\na.png,x\nb.png,y\n"),
        {"classes": "x,z"},
        "data.classes is 'x,z'",
    ),
    # settings
    "window": (TWO, {"window": "9,1"}, "data.window is '9,1'"),
    "group is no expression": (TWO, {"group": "("}, r"data.group is '\('"),
    "group that does not match": (TWO, {"group": r"p\d"}, "does not match 2 of 2 file names: x"),
    "splits": (TWO, {"splits": "50,50"}, "data.splits is '50,50'"),
    "fold": (TWO, {"folds": 3, "fold": 3}, "data.fold is 3"),
    "more folds than groups": (TWO, {"folds": 5}, "2 images or groups"),
    "phantoms of no kind": ({}, {"dir": "", "name": "foot"}, "'foot'"),
    "tfds set of no name": ({}, {"name": "tfds:no_such_set_at_all"}, "no_such_set_at_all"),
    "url without checksum": ({"x.zip": b""}, {"url": "file://x.zip"}, "sha256"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_nothing_written_but_the_cache(case, tmp_path):
    files, changes, says = CASES[case]
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    for name, content in files.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content() if callable(content) else content)
    settings = default_config().data
    settings.update(dir=str(data), image_size=8, cache_dir=str(cache))
    settings.update(changes)
    if changes.get("dir"):
        settings.dir = str(data / changes["dir"])
    if changes.get("url"):
        settings.url = f"file://{data / 'x.zip'}"
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if path != cache}
    with pytest.raises(UserError, match=says) as raised:
        prepare(settings)
    message = str(raised.value)
    assert len(message) < 600 and "Traceback" not in message
    after = {
        path: path.lstat().st_mtime_ns
        for path in tmp_path.rglob("*")
        if cache not in (path, *path.parents)
    }
    assert {**after, tmp_path: 0} == {**before, tmp_path: 0}
    assert not list(cache.glob("prepared/*")) and not list(cache.rglob(".incomplete-*"))


def test_there_are_at_least_forty():
    assert len(CASES) >= 40
