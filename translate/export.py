"""--mode=export of a translation: pixels in, the pixels that they are translated to out."""

from jaxtyping import Array, Float, UInt8

from common.data.transforms import to_signed_unit
from common.export.model import Model, Values
from common.export.write import write_model
from common.runs.workdir import Run
from translate.flags import TranslateOptions
from translate.inference import TrainedTranslator
from translate.steps import translate


def export(run: Run, options: TranslateOptions) -> None:
    """Writes the generator for other programs: see common/export.

    Raises:
      UserError: there is no checkpoint, or --output can't be used.
    """
    write_model(run, options, _model)


def _model(run: Run) -> Model:
    trained = TrainedTranslator(run)
    card = run.card
    shape = (card.image_size, card.image_size, card.channels)

    def translations(
        images: UInt8[Array, "batch height width channels"],
    ) -> Float[Array, "batch height width channels"]:
        return translate(trained.translator, trained.variables, to_signed_unit(images))

    return Model(
        translations,
        {"images": Values(shape, "uint8", "pixels, 0 to 255")},
        Values(shape, "float32", "pixels, -1 to 1, which stand for 0 to 255"),
        trained.step,
        {},
    )
