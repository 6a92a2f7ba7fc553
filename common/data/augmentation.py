"""The settings of `config.augment`: how training images are varied. Needs no JAX."""

from dataclasses import dataclass

from common.program.rules import Rules, choice, number, switch
from common.program.settings import Section

FILLS = ("black", "edge", "reflect")
RULES: Rules = {
    **dict.fromkeys(("flip_horizontal", "flip_vertical"), switch()),
    "rotation": number(0, 180),
    "translation": number(0, 0.5),
    **dict.fromkeys(("zoom", "crop"), number(0, 0.9)),
    "elastic": number(0, 0.1),
    **dict.fromkeys(("brightness", "contrast"), number(0, 1)),
    "gamma": number(0, 9),
    "cutout": number(0, 1),
    "fill": choice(*FILLS),
}


@dataclass(frozen=True)
class Augmentation(Section):
    """How much training images are varied; False and 0 leave them unchanged.

    Every amount is a bound: an example's value is uniform between minus and plus the amount, except
    the deformation, which is normal.

    Attributes:
      flip_horizontal: mirrors half of the images, left to right.
      flip_vertical: mirrors half of the images, top to bottom.
      rotation: degrees.
      translation: share of the side, along each axis.
      zoom: 0.1 magnifies by 0.9 to 1.1.
      crop: 0.2 cuts out a square of 0.8 to 1 of the side, anywhere, and enlarges it to the whole.
      elastic: standard deviation of the displacement, as a share of the side; 0.02 in the U-Net
        paper. From about 0.05 on, an image may fold over itself.
      brightness: share of the range of values, added to the image.
      contrast: 0.2 multiplies differences from the mean of the unmoved image by 0.8 to 1.2.
      gamma: 0.5 raises the values of each channel, as shares of the range, to a power of its own
        between 1/1.5 and 1.5: shadows or lights gain contrast, as from scanner to scanner.
      cutout: the side of a square, centred anywhere, that becomes middle grey, as a share of the
        image's; unlike the other amounts it is always used whole (DeVries and Taylor, 2017).
      fill: what fills pixels from outside: "black" (background in a mask), the "edge" pixels, or a
        "reflect"ion of the image.
    """

    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotation: float = 0.0
    translation: float = 0.0
    zoom: float = 0.0
    crop: float = 0.0
    elastic: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    cutout: float = 0.0
    fill: str = "black"

    @property
    def moves_pixels(self) -> bool:
        """Returns whether the geometry of images, masks and targets changes."""
        amounts = self.rotation, self.translation, self.zoom, self.crop, self.elastic
        return self.flip_horizontal or self.flip_vertical or any(amounts)

    @property
    def moves_whole_pixels(self) -> bool:
        """Returns whether the geometry changes by mirroring and translation alone.

        Translations are then rounded to whole pixels: images stay as sharp as they are.
        """
        blurring = self.rotation, self.zoom, self.crop, self.elastic
        return self.moves_pixels and not any(blurring)

    @property
    def changes_values(self) -> bool:
        """Returns whether the brightness, contrast or gamma of images changes."""
        return bool(self.brightness or self.contrast or self.gamma)

    @property
    def is_on(self) -> bool:
        """Returns whether anything changes."""
        return bool(self.moves_pixels or self.changes_values or self.cutout)
