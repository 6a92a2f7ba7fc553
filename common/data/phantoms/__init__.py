"""Synthetic stand-ins for medical images, for users without data.

They are drawings, not patients: none is derived from a person's image, and no clinical conclusion
may rest on them. They let every experiment run out of the box, with a known ground truth.
"""

from common.data.phantoms.brain_mri import brain_mri, mri_pair
from common.data.phantoms.chest_xray import CHEST_XRAY_CLASSES, chest_xray
from common.data.phantoms.digits import DIGITS, digits
from common.data.phantoms.gaussian import gaussian
from common.data.phantoms.kinds import Images, PhantomKind, Phantoms
from common.data.phantoms.lung_ct import LUNG_CT_CLASSES, lung_ct
from common.data.phantoms.sunflower import sunflower

__all__ = [
    "CHEST_XRAY_CLASSES",
    "DIGITS",
    "KINDS",
    "LUNG_CT_CLASSES",
    "Images",
    "PhantomKind",
    "Phantoms",
    "brain_mri",
    "chest_xray",
    "digits",
    "gaussian",
    "lung_ct",
    "mri_pair",
    "sunflower",
]

# By the name of the data set that they stand in for
KINDS: dict[str, PhantomKind] = {
    "covid_ct": PhantomKind(LUNG_CT_CLASSES, ("background", "lesion"), 1, lung_ct),
    "brain_mri": PhantomKind(("brain_mri",), ("background", "tumour"), 3, brain_mri),
    "chest_xray": PhantomKind(CHEST_XRAY_CLASSES, ("background", "opacity"), 1, chest_xray),
    "mri_pair": PhantomKind(("mri_pair",), (), 1, mri_pair),
    "digits": PhantomKind(DIGITS, (), 1, digits),
    "sunflower": PhantomKind(("sunflower",), (), 3, sunflower),
    "gaussian": PhantomKind(("gaussian",), (), 1, gaussian),
}
