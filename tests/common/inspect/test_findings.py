"""Specification of the findings: which sentences, how severe, with which setting."""

import numpy as np
import pytest

from common.config.defaults import default_config
from common.inspect.findings import Finding, Level, verdict
from common.inspect.inspection import inspect
from common.program.words import counted, percent, some
from tests.common.inspect.conftest import picture, recompressed


@pytest.fixture(scope="module", autouse=True)
def _small_forests():
    """Of a tenth of the trees: test_shortcuts.py has whole ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("common.inspect.shortcuts._TREES", 20)
        yield


@pytest.fixture
def findings(write):
    """What is found in some files; further keywords are settings of config.data."""

    def find(files, **settings):
        data = default_config().data
        data.update(dir=str(write(files)), image_size=16, **settings)
        return inspect(data).findings

    return find


def one(findings, start_or_part):
    """The one finding whose sentence holds some words."""
    (found,) = [finding for finding in findings if start_or_part in finding.sentence]
    return found


def classes(num=12, splits=("train", "val", "test"), names=("A", "B")):
    """Pictures of two classes in three splits, no two of which are alike."""
    places = [(split, name, k) for split in splits for name in names for k in range(num)]
    return {
        f"{split}/{name}/{split}{name}{chr(97 + k)}.png": picture(seed)
        for seed, (split, name, k) in enumerate(places)
    }


def test_images_without_fault_get_no_warning(findings):
    assert [f.sentence for f in findings(classes(30)) if f.level != Level.NOTE] == []


# Files


def test_broken_files_stop_training(findings):
    found = one(findings(classes() | {"train/A/x.png": b""}), "can't be used")
    assert found.level == Level.MEND
    assert "1 of 73 images can't be used" in found.sentence and "x.png is empty" in found.sentence
    assert "--config.data.on_bad_image=skip" in found.remedy


def test_leaving_files_out_is_not_advised_where_that_leaves_hardly_any(findings):
    few = classes(1, ("train",))
    found = one(findings(few | {f"train/A/x{k}.png": b"" for k in range(9)}), "can't be used")
    assert found.level == Level.MEND and "have in common" in found.remedy
    assert "skip" not in found.remedy


def test_a_picture_with_two_labels_is_told_also_where_its_copies_are_left_out(findings):
    files = classes(4) | {"train/B/x.png": picture(0)}  # that of A
    assert one(findings(files), "in several classes").level == Level.MEND
    found = one(findings(files, copies="drop"), "in several classes")
    assert found.level == Level.MEND and "train/A/trainAa.png = train/B/x.png" in found.sentence


def test_files_that_are_not_read_are_counted_and_named(findings):
    few = classes(2, ("train",))
    notes = {"README.md": b"x", "train/A/data.csv": b"x"}
    found = one(findings(few | notes), "not read")
    assert found.level == Level.NOTE
    assert found.sentence == "2 files beside the images are not read: README.md, train/A/data.csv."
    found = one(findings(few | notes | {"train/A/scan.mha": b"x"}), "not read")
    assert found.level == Level.LOOK and "train/A/scan.mha" in found.sentence
    assert "marker" in found.remedy
    found = one(findings(few | {"Labels.csv": b"x"}), "not read")
    assert found.level == Level.LOOK  # a table that was to be read


def test_dicom_files_have_one_file_type_whatever_their_number(surveyed, tmp_path):
    dicom_files = pytest.importorskip("tests.dicom_files", exc_type=ImportError)
    content = dicom_files.save(tmp_path / "x.dcm", dicom_files.GREY).read_bytes()
    survey = surveyed(
        {f"A/1.2.840.{number}": content for number in range(3)} | {"A/x.DCM": content}
    )
    assert [image.file_type for image in survey.images] == ["no known ending"] * 3 + [".dcm"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("COVID", "covid"), "The classes 'COVID' (2 images) and 'covid' (2 images) may be one"),
        (("0", "0.0"), "The classes '0' (2 images) and '0.0' (2 images) may be one"),
        (("A", "nan"), "The class 'nan' (2 images) has the name of a missing label."),
    ],
)
def test_classes_that_may_be_one_or_none(findings, names, sentence):
    assert one(findings(classes(2, ("train",), names)), sentence).level == Level.LOOK


def test_groups_that_may_be_one(findings):
    table = "file,label,group,split\n" + "".join(
        f"{split}{k}.png,A,{group}{k},{split}\n"
        for split, group in (("train", "P"), ("test", "p"))
        for k in range(3)
    )
    files = {f"{split}{k}.png": picture(k) for split in ("train", "test") for k in range(3)}
    found = one(findings(files | {"labels.csv": table.encode()}), "sets of groups differ only")
    assert (
        found.level == Level.LOOK and "3 sets" in found.sentence and "'P0', 'p0'" in found.sentence
    )


def test_mask_values_that_may_be_one(findings):
    files = {
        f"{kind}/{k}.png": picture(k) // 255 * kind.count("m")
        for kind in ("images", "masks")
        for k in range(3)
    }
    found = findings(files, mask_values="0=background,1=Tumour,2=tumour")
    assert "'Tumour', 'tumour', which may be one" in one(found, "classes of the masks are").sentence


def test_broken_files_that_are_skipped_are_only_mentioned(findings):
    found = findings(classes() | {"train/A/x.png": b""}, on_bad_image="skip")
    assert one(found, "are left out").level == Level.LOOK


def test_a_class_of_which_no_training_image_can_be_read(findings):
    files = classes()
    broken = {name: b"" for name in files if name.startswith("train/B/")}
    assert one(findings(files | broken), "Class B has no readable").level == Level.MEND


def test_pictures_that_show_nothing_are_counted(findings):
    found = one(findings(classes(30) | {"val/A/black.png": np.zeros((9, 9), np.uint8)}), "hardly")
    assert found.level == Level.NOTE
    assert "val/A/black.png" in found.sentence


def test_shapes_that_are_stretched(findings):
    files = classes() | {"train/A/wide.png": picture(99)[:48]}
    found = one(findings(files), "stretched to a square")
    assert "from 1.00 to 2.00" in found.sentence and "--config.data.fit=pad" in found.remedy
    assert not [f for f in findings(files, fit="pad") if "stretched" in f.sentence]


def test_colours_that_are_lost_and_channels_that_are_equal(findings):
    colour = np.stack([picture(7), picture(8), picture(9)], axis=-1)
    files = classes() | {"train/A/colour.png": colour}
    assert "--config.data.channels=3" in one(findings(files), "in colour and become grey").remedy
    found = findings(classes(), channels=3)
    assert "--config.data.channels=1" in one(found, "No image is in colour").remedy


def test_transparency_is_mentioned(findings):
    layers = np.stack([picture(7)] * 4, axis=-1)
    assert one(findings(classes() | {"train/A/x.png": layers}), "transparency")


def test_a_window_that_shows_a_few_grey_levels(findings):
    deep = {name: pixels.astype(np.uint16) * 10 for name, pixels in classes().items()}
    found = one(findings(deep), "more than 8 bits")
    assert "values from 0 to 2550" in found.sentence and "10 of 256 grey levels" in found.sentence
    assert "--config.data.window=0,2550" in found.remedy
    assert not [f for f in findings(deep, window="0,2550") if "more than 8 bits" in f.sentence]


# Splits and groups


def test_missing_splits(findings):
    found = one(findings(classes(splits=("train",))), "no test split")
    assert (found.level, found.remedy) == (Level.LOOK, "Make splits: --config.data.splits=70,15,15")
    found = one(findings(classes(splits=("train", "test"))), "no validation split")
    assert "--config.data.folds=5" in found.remedy


def test_splits_that_are_made_are_the_ones_that_are_judged(findings):
    found = findings(classes(60, splits=("train",)), splits="60,20,20")
    assert not [f for f in found if f.level != Level.NOTE]


def test_unequal_classes(findings):
    files = {
        name: pixels for name, pixels in classes(40).items() if name[-5] < "k" or "/B/" in name
    }
    found = one(findings(files), "imbalanced")
    assert "40 images of class B and 10 of class A, 4.0 times fewer" in found.sentence
    assert found.level == Level.LOOK
    assert "accuracy of 80 %" in found.remedy


def test_another_share_in_another_split(findings):
    files = classes(60)
    fewer = {name: p for name, p in files.items() if not (name[:6] == "test/A" and name[-5] > "f")}
    found = one(findings(fewer), "makes up")
    assert "50 % of train but 9 % of test" in found.sentence


def test_a_patient_in_two_splits(findings):
    names = ("train/p1_0", "train/p2_0", "val/p1_1", "val/p3_0", "test/p4_0")
    files = {f"{name}.png": picture(seed) for seed, name in enumerate(names)}
    found = one(findings(files, group="(.+)_"), "groups have images in several splits")
    assert found.level == Level.MEND
    assert "1 of 4 groups" in found.sentence and "p1 (train, val)" in found.sentence
    assert "--config.data.splits" in found.remedy
    made = findings(files, group="(.+)_", splits="50,25,25")
    assert not [f for f in made if "several splits" in f.sentence]


def test_names_that_look_like_patients(findings):
    names = [f"p{p}_{k}" for p in range(8) for k in range(3)]
    apart = {
        f"{'val' if name < 'p4' else 'train'}/{name}.png": picture(s)
        for s, name in enumerate(names)
    }
    found = one(findings(apart), "file names suggest 8 groups")
    assert (found.level, r"--config.data.group='(.+)_\d+'" in found.remedy) == (Level.NOTE, True)
    mixed = {
        f"{'val' if name[-1] == '0' else 'train'}/{name}.png": picture(s)
        for s, name in enumerate(names)
    }
    found = one(findings(mixed), "8 of them have images in several splits")
    assert found.level == Level.LOOK


def test_folders_that_look_like_patients(findings):
    files = {
        f"{split}/{name}/Patient {p}/{k}.png": picture(seed)
        for seed, (split, name, p, k) in enumerate(
            (split, name, p, k)
            for split in ("train", "test")
            for name in "AB"
            for p in range(6)
            for k in range(2)
        )
    }
    found = one(findings(files), "The folders suggest 6 groups, perhaps patients")
    assert found.level == Level.LOOK and "6 of them have images in several splits" in found.sentence
    assert "--config.data.group='^[^/]+/[^/]+/([^/]+)/'" in found.remedy


def test_classes_that_are_called_like_patients(findings):
    files = {f"Patient {p}/{k}.png": picture(9 * p + k) for p in range(3) for k in range(2)}
    found = one(findings(files), "named like patients")
    assert found.level == Level.LOOK and "DIR/CLASS/Patient 0/image.png" in found.remedy


def test_the_splits_that_are_advised_are_the_ones_that_are_made(findings):
    files = classes(splits=("train",))
    assert (
        "splits=70,15,15 --config.data.folds=0" in one(findings(files, folds=3), "no test").remedy
    )


def test_twenty_images_are_too_few(findings):
    found = one(findings(classes(10, ("train",))), "There are 20 images in all")
    assert found.level == Level.LOOK
    assert "On 15 % of them, 3, an accuracy of 80 % is known to within 45 %" in found.sentence


# Copies


@pytest.mark.parametrize(
    ("copy", "level", "words"),
    [
        ("val/A/copy.png", Level.MEND, "1 picture is in several splits, pixel by pixel"),
        ("train/B/copy.png", Level.MEND, "1 picture is in several classes, pixel by pixel"),
        ("train/A/copy.png", Level.LOOK, "1 picture is more than once in one split and class"),
    ],
)
def test_exact_copies(findings, copy, level, words):
    files = classes()
    found = one(findings(files | {copy: files["train/A/trainAa.png"]}), words)
    assert found.level == level
    assert "train/A/trainAa.png" in found.sentence and copy in found.sentence
    assert "copies.csv" in found.remedy


def test_near_copies_across_splits(findings):
    files = classes()
    copy = {"test/A/copy.jpg": recompressed(files["train/A/trainAa.png"], 50)}
    found = one(findings(files | copy), "in several splits, re-compressed")
    assert found.level == Level.MEND


@pytest.mark.parametrize("copy", ["test/A/m.png", "train/B/m.png"])
def test_mirrored_copies_are_as_grave_as_others(findings, copy):
    files = classes()
    mirrored = np.ascontiguousarray(files["train/A/trainAa.png"][:, ::-1])
    found = one(findings(files | {copy: mirrored}), "mirrored")
    assert found.level == Level.MEND and copy in found.sentence


# Shortcuts


def test_a_frame_around_one_class_gives_it_away(findings):
    files = classes()
    framed = {name: np.pad(p, 2) for name, p in files.items() if "/B/" in name}
    found = one(findings(files | framed), "frame of one brightness")
    assert found.level == Level.MEND
    assert "2 pixels wide, is around 100 % of the images of class B" in found.sentence
    assert "0 % of those of A" in found.sentence


def test_another_size_of_one_class_gives_it_away(findings):
    files = {n: (p[:, :80] if "/B/" in n else p) for n, p in classes().items()}
    found = one(findings(files), "without looking at the picture")
    assert found.level == Level.MEND
    assert "1.00" in found.sentence and "width" in found.sentence


def test_brightness_is_a_hint_only(findings):
    files = {n: (p // 2 if "/B/" in n else p) for n, p in classes().items()}
    found = one(findings(files), "by brightness, contrast and compression alone")
    assert found.level == Level.LOOK


def deep(files, num_groups):
    """Class B in 16 bits, and the images of each class of so many patients."""
    return {
        f"{n.rpartition('/')[0]}/p{n.split('/')[1]}{k % num_groups}_{k}.png": (
            p.astype(np.uint16) * 200 if "/B/" in n else p
        )
        for k, (n, p) in enumerate(files.items())
    }


def test_what_gives_a_class_away_does_not_vanish_because_there_are_few_groups(findings):
    files = classes(20, ("train",))
    found = one(findings(deep(files, 20), group="(.+)_"), "without looking at the picture")
    assert (found.level, found.untested) == (Level.MEND, False)
    few = findings(deep(files, 2), group="(.+)_")
    found = one(few, "without looking at the picture was not tested: too few groups to test")
    assert (found.level, found.untested) == (Level.LOOK, True)
    assert "class A has images of 2 groups of the 5" in found.sentence
    assert "the AUC is 1.00" in found.sentence
    assert "as far as could be tested" in verdict(few) and "could not be made" in verdict(few)


def test_few_images_of_a_class_are_said_to_be_too_few_for_the_probe(findings):
    found = one(findings(classes(4, ("train",))), "was not tested: class A has 4 images of the 10")
    assert found.untested and "AUC" not in found.sentence


# Masks


def masked(num, mask):
    files = {}
    for k in range(num):
        for split in ("train", "val", "test"):
            files[f"{split}/images/{split}{chr(97 + k)}.png"] = picture(100 * k + len(split))
            files[f"{split}/masks/{split}{chr(97 + k)}.png"] = mask(split, k)
    return files


def square(side, value=255):
    mask = np.zeros((96, 96), np.uint8)
    mask[:side, :side] = value
    return mask


def test_how_much_masks_cover(findings):
    found = findings(masked(4, lambda split, k: square(0 if k == 0 else 12)))
    empty = one(found, "masks are empty")
    assert "3 of 12 masks are empty (25 % in train, 25 % in val, 25 % in test)" in empty.sentence
    assert empty.level == Level.NOTE
    cover = one(found, "Non-empty masks cover")
    assert "cover 1.6 % of their image" in cover.sentence and "98.8 % of all pixels" in cover.remedy


def test_empty_masks_that_are_mostly_in_one_split(findings):
    found = findings(masked(4, lambda split, k: square(0 if split == "test" and k else 12)))
    assert one(found, "masks are empty").level == Level.LOOK


def test_a_split_without_any_mask(findings):
    found = findings(masked(2, lambda split, k: square(0 if split == "val" else 12)))
    assert one(found, "Every mask in the val split is empty").level == Level.MEND


def test_a_set_without_any_mask_is_said_once(findings):
    found = findings(masked(2, lambda split, k: square(0)))
    assert one(found, "is empty").sentence == "Every mask is empty."


def test_masks_that_cover_everything(findings):
    found = findings(masked(2, lambda split, k: square(96 if split == "val" else 12)))
    assert "2 masks cover the whole image" in one(found, "the whole image").sentence


def test_a_class_that_no_mask_of_a_split_has(findings):
    files = masked(2, lambda split, k: square(12, 255 if split == "test" or k else 128))
    found = findings(files, mask_values="0=background,128=oedema,255=tumour")
    assert "No mask in the test split has any oedema" in one(found, "No mask").sentence


# Words


def test_the_verdict_sums_up():
    mend, look, note = (Finding(level, "") for level in Level)
    assert verdict([note]).startswith("Nothing wrong was found")
    assert "one thing needs a check" in verdict([look, note])
    assert verdict([mend, look]).startswith("One thing here makes")
    assert verdict([mend, mend]).startswith("2 things here make")


def test_numbers_and_lists_in_words():
    assert (counted(1, "image"), counted(2000, "image")) == ("1 image", "2,000 images")
    assert counted(2, "class", "classes") == "2 classes"
    assert some(["a", "b"]) == "a, b"
    assert some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert [percent(share) for share in (0.0, 0.012, 0.5, 0.996, 1.0)] == [
        "0 %",
        "1.2 %",
        "50 %",
        "99.6 %",
        "100 %",
    ]
