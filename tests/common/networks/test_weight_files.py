"""Weights of others come in as arrays, and nothing in their files is run."""

import hashlib
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from common.networks.vgg16 import BLOCKS, NAMES, vgg16_params
from common.networks.weight_files import read_weights
from common.program.errors import UserError

RNG = np.random.default_rng(0)
ARRAYS = {"conv.weight": RNG.normal(size=(4, 3, 2)).astype(np.float32), "count": np.array(7)}


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == np.asarray(array).dtype


def test_npz(tmp_path):
    np.savez(tmp_path / "w.npz", **ARRAYS)
    equal(read_weights(tmp_path / "w.npz"), ARRAYS)


def test_a_pickle_of_nested_arrays(tmp_path):
    tree = {"net": OrderedDict(layer=ARRAYS), "epoch": 3, "name": "x"}
    (tmp_path / "w.ckpt").write_bytes(pickle.dumps(tree))
    expected = {f"net/layer/{name}": array for name, array in ARRAYS.items()}
    equal(read_weights(tmp_path / "w.ckpt"), expected)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_pytorch_files_are_read_as_pytorch_reads_them(tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="there is no torch: pip install -e '.[bench]'")
    whole = torch.arange(24.0).reshape(4, 6)
    state = OrderedDict(
        turned=whole.T,
        part=whole[1:3, 2:5],
        half=whole.half(),
        number=torch.tensor(5),
        parameter=torch.nn.Parameter(whole.clone()),
        empty=torch.zeros(0, 3),
    )
    torch.save({"model": state}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    expected = {f"model/{name}": tensor.detach().numpy() for name, tensor in state.items()}
    equal(read_weights(tmp_path / "w.pth"), expected)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("a named pipe", os.mkfifo),
        ("a device", lambda path: path.symlink_to("/dev/zero")),
        ("a folder", os.mkdir),
    ],
)
@pytest.mark.parametrize("sha256", ["", "0" * 64])
def test_what_is_no_file_is_named_and_not_waited_at(tmp_path, kind, make, sha256):
    make(tmp_path / "w.npz")
    with pytest.raises(UserError, match=rf"w\.npz is {kind}, not a file"):
        read_weights(tmp_path / "w.npz", sha256)


def test_keras_files(tmp_path):
    h5py = pytest.importorskip("h5py", reason="there is no h5py: pip install -e '.[pretrained]'")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["block1_conv1/block1_conv1_W_1:0"] = ARRAYS["conv.weight"]
    found = read_weights(tmp_path / "w.h5")
    equal(found, {"block1_conv1/block1_conv1_W_1": ARRAYS["conv.weight"]})


class Harmful:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_something_is_refused(tmp_path, zipped):
    content = pickle.dumps({"w": Harmful(tmp_path / "harm")})
    file = tmp_path / "w.pth"
    if zipped:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("w/data.pkl", content)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match="which is not an array"):
        read_weights(file)
    assert not (tmp_path / "harm").exists()


def test_a_tensor_beyond_its_numbers_is_refused(tmp_path):
    """What a forged file would use to read the memory of the program."""

    class Storage:
        def __init__(self, key):
            self.key = key

    class Forged:
        def __reduce__(self):
            import common.networks.weight_files as module

            return module._rebuild_tensor, (Storage("0"), 0, (100,), (1,))

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            return (
                ("storage", "FloatStorage", "0", "cpu", 4) if isinstance(thing, Storage) else None
            )

    with (tmp_path / "data.pkl").open("wb") as stream:
        Pickler(stream, protocol=2).dump({"w": Forged()})
    content = (tmp_path / "data.pkl").read_bytes()
    content = content.replace(
        b"ccommon.networks.weight_files\n_rebuild_tensor\n", b"ctorch._utils\n_rebuild_tensor_v2\n"
    )
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("w/data.pkl", content)
        archive.writestr("w/data/0", np.zeros(4, np.float32).tobytes())
    with pytest.raises(UserError, match="exceeds its storage"):
        read_weights(tmp_path / "w.pth")


def test_what_is_no_weights_file_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        read_weights(tmp_path / "none.pth")
    for content in (b"", b"no weights", pickle.dumps([1, 2])):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(UserError, match="holds no readable weights"):
            read_weights(tmp_path / "w.pth")


def test_another_file_than_the_checksum_says_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", **ARRAYS)
    right = hashlib.sha256((tmp_path / "w.npz").read_bytes()).hexdigest()
    equal(read_weights(tmp_path / "w.npz", right.upper()), ARRAYS)
    with pytest.raises(UserError, match="another file"):
        read_weights(tmp_path / "w.npz", "0" * 64)


def files_of_vgg16():
    """The same random weights under the names of everybody who publishes them."""
    before, kernels = 3, []
    for width in (width for block in BLOCKS for width in block):
        kernels.append(np.zeros((3, 3, before, width), np.float32))
        kernels[-1][0, 1, 0, 0] = RNG.normal()
        before = width
    biases = [RNG.normal(size=kernel.shape[-1]).astype(np.float32) for kernel in kernels]
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    torchvision, keras, lpips = {"classifier.0.weight": np.zeros((2, 2))}, {}, {}
    for i, (name, kernel, bias) in enumerate(zip(NAMES, kernels, biases, strict=True)):
        torchvision[f"features.{places[i]}.weight"] = kernel.transpose(3, 2, 0, 1)
        torchvision[f"features.{places[i]}.bias"] = bias
        keras[f"{name}/{name}_W_1"], keras[f"{name}/{name}_b_1"] = kernel, bias
        lpips[f"VGG16_0/Conv_{i}/kernel"], lpips[f"VGG16_0/Conv_{i}/bias"] = kernel, bias
    return kernels, biases, {"torchvision": torchvision, "keras": keras, "lpips": lpips}


def test_vgg16_is_found_in_the_files_of_torchvision_of_keras_and_of_lpips():
    kernels, biases, files = files_of_vgg16()
    for arrays in files.values():
        params = vgg16_params(arrays, "x")
        assert sum(leaf.size for layer in params.values() for leaf in layer.values()) == 14_714_688
        for name, kernel, bias in zip(NAMES, kernels, biases, strict=True):
            np.testing.assert_array_equal(params[name]["kernel"], kernel)
            np.testing.assert_array_equal(params[name]["bias"], bias)


def test_weights_of_another_network_are_refused_by_name():
    _, _, files = files_of_vgg16()
    arrays = files["torchvision"]
    wide = {**arrays, "features.0.weight": np.zeros((32, 3, 3, 3), np.float32)}
    with pytest.raises(UserError, match="for block1_conv1"):
        vgg16_params(wide, "x")
    del arrays["features.28.bias"]
    with pytest.raises(UserError, match="no weights for block5_conv3"):
        vgg16_params(arrays, "x")
