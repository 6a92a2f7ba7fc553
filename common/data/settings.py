"""The settings of `config.data`: where images are, and how they are read and divided."""

from dataclasses import dataclass

from common.program.settings import Section


@dataclass(frozen=True)
class DataSettings(Section):
    """`config.data`, read once where images are opened; the defaults of every experiment."""

    name: str = ""  # names the data; also the kind of phantoms if dir is empty
    dir: str = ""  # a folder of images, .zip, .npz, IDX files; "" = phantoms
    url: str = ""  # a .zip or .npz file, downloaded once, instead of dir ...
    sha256: str = ""  # ... and its checksum
    image_size: int = 64  # height and width, in pixels, that networks see
    channels: int = 1  # 1: grey, 3: colour, 0: as most images are
    fit: str = "stretch"  # to a square; or "pad" with black, or "crop"
    classes: str = ""  # "COVID,NonCOVID": names and order; "" = all found, sorted
    only: str = ""  # "NORMAL": use these classes only; "" = all
    mask_values: str = ""  # "0=background,128-255=tumour"; "" = 0 and 1, or 0 and 255
    take: str = ""  # "R": one channel; "R>G": and one as its target; or "target>image"
    pairs: str = "stems"  # match masks to images by name; or "sorted": by position
    plane: str = "axial"  # of slices from NIfTI volumes; or "coronal", "sagittal"
    neighbours: int = 0  # so many slices before and after each are seen as channels, too
    group: str = ""  # the patient: a regular expression on file names, "column:X", "dicom:X"
    splits: str = ""  # percentages of train, val, test, "70,15,15"; "" = as found ...
    held_out: str = ""  # ... and where val or test is missing, this share of train
    split_seed: int = 0  # of the splits that are made
    folds: int = 0  # k of k-fold cross-validation: part `fold` becomes val
    fold: int = 0  # which part, from 0
    train_images: int = 0  # about so many are for training, the others left out; 0: all
    labels_per_class: int = 0  # so many training images of each class keep their label; 0: all
    labelled_patients: int = 0  # of so many the training images keep their label; 0: of all
    labels_seed: int = 0  # chooses them
    unlabelled: str = "drop"  # the others leave training; some tasks have "keep": they stay in it
    unlabelled_dir: str = ""  # of a pretraining: a folder of further training images without labels
    copies: str = "group"  # copies share a split; or "drop" all but one; or "keep"
    equal_pairs: str = "drop"  # patients whose targets equal their images; or "keep"
    batch_size: int = 32  # global: over all devices and processes
    shuffle: bool = True  # training images, anew in each epoch
    balance: bool = False  # True: training batches have as many images of each class
    window: str = ""  # "low,high" in the file's own units, for 16-bit and float images
    on_bad_image: str = "error"  # or "skip": count unreadable images and go on
    num_phantoms: int = 1024  # in train; val and test get a quarter of that each
    resident_limit_mb: int = 1024  # data up to this size stays on the device
    cache_dir: str = ""  # for prepared data; "" = the user's cache folder

    @property
    def hides_labels(self) -> bool:
        """Returns whether training images stay without their label."""
        few = self.labels_per_class or self.labelled_patients
        return bool(few) and self.unlabelled == "keep"
