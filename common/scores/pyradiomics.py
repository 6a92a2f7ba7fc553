"""The features that the Fréchet Radiomic Distance (FRD) compares, by the package pyradiomics.

They are those of version 1 of FRD for 2D images: statistics of grey values and textures of the
image, of its Laplacians of Gaussians and of its wavelet transforms, at half of its size, with 100
times the standard scores of its pixels in bins of 5. pyradiomics leaves out the Laplacians of
images that are too small for them: there are fewer features of these.

Konz et al., "Fréchet Radiomic Distance (FRD): A Versatile Metric for Comparing Medical Imaging
Datasets" (2026); the settings are those of its program, frd-score 1.0.1.
"""

import logging
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from common.program.errors import UserError
from common.program.log import log
from common.program.words import counted

IDENTITY = "frd 1"  # of these settings
_MANY = 256  # images that take a while
_GLCM = """
Autocorrelation JointAverage ClusterProminence ClusterShade ClusterTendency Contrast Correlation
DifferenceAverage DifferenceEntropy DifferenceVariance JointEnergy JointEntropy Imc1 Imc2 Idm Idmn
Id Idn InverseVariance MaximumProbability SumEntropy SumSquares
"""
_FEATURES = {"glcm": _GLCM.split(), **dict.fromkeys(("firstorder", "glrlm", "glszm", "ngtdm"))}
_IMAGES = {"Original": {}, "LoG": {"sigma": [2.0, 3.0, 4.0, 5.0]}, "Wavelet": {}}
_SETTINGS = {
    **{"normalize": True, "normalizeScale": 100, "binWidth": 5, "voxelArrayShift": 300},
    **{"interpolator": "sitkBSpline", "resampledPixelSpacing": [2, 2, 0], "padDistance": 10},
    **{"preCrop": True, "force2D": True, "force2Ddimension": 0, "label": 1},
}
_LUMINANCE = (2125.0, 7154.0, 721.0)  # of red, green and blue in 10,000, as ITK has it


def version() -> str:
    """Returns that of the installed package.

    Raises:
      UserError: it is not installed.
    """
    try:
        import radiomics
    except ImportError as error:
        raise UserError(
            "The features pyradiomics need the package pyradiomics; install it with pip install"
            " 'triptych[frd]', which compiles it."
        ) from error
    return str(radiomics.__version__)


def pyradiomics(
    images: UInt8[np.ndarray, "images height width channels"],
) -> Float32[np.ndarray, "images features"]:
    """Returns the features of each image; of colour they capture only the luminance.

    Their number depends on the size of the images. It takes about 0.15 s an image of 64 pixels.

    Raises:
      UserError: an image has only one grey value.
    """
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    flat = int((np.ptp(images.reshape(len(images), -1), axis=1) == 0).sum())
    if flat:
        raise UserError(
            f"{flat} of {counted(len(images), 'image')} have one grey value only, and pyradiomics"
            " has no features of these; leave pyradiomics out of --extractors."
        )
    if len(images) > _MANY:
        log.info("computing pyradiomics features of %s", counted(len(images), "image"))
    logging.getLogger("radiomics").setLevel(logging.ERROR)  # it tells each step of each image
    extractor = RadiomicsFeatureExtractor(**_SETTINGS)
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(**_FEATURES)
    extractor.enableImageTypes(**_IMAGES)
    grey = images[..., 0] if images.shape[-1] == 1 else images @ np.array(_LUMINANCE) / 10_000
    return np.array([_features(extractor, image) for image in grey.astype(np.float32)], np.float32)


def _features(extractor: Any, image: Float[np.ndarray, "height width"]) -> list[float]:
    """Returns all numbers that pyradiomics finds, those on image and mask included, as FRD does."""
    import SimpleITK

    mask = np.ones((1, *image.shape), np.uint8)
    mask[0, 0, 0] = 0  # pyradiomics fails where a mask is all there is
    found = extractor.execute(
        SimpleITK.GetImageFromArray(image[None]), SimpleITK.GetImageFromArray(mask)
    )
    numbers = (int, float, np.number, np.ndarray)
    return [float(x) for x in found.values() if isinstance(x, numbers) and np.ndim(x) == 0]
