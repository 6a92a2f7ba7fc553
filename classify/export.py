"""--mode=export of a classifier: pixels in, calibrated probabilities out."""

from functools import partial

from jaxtyping import Array, Float, UInt8

from classify.flags import ClassifyOptions
from classify.inference import Inference, known_temperature, load_inference
from classify.operating_point import known_thresholds
from common.export.model import Model, Values
from common.export.write import write_model
from common.runs.workdir import Run


def export(run: Run, options: ClassifyOptions) -> None:
    """Writes the network, of an ensemble the mean of all, for other programs: see common/export.

    Raises:
      UserError: there is no checkpoint, or --output can't be used.
    """
    write_model(run, options, _model)


def _model(run: Run) -> Model:
    inference, step = load_inference(run)
    temperature = known_temperature(run, step) or 1.0
    card, names = run.card, inference.outputs.names
    shape = (card.image_size, card.image_size, card.channels)
    return Model(
        partial(_probabilities, inference, temperature),
        {"images": Values(shape, "uint8", "pixels, 0 to 255")},
        Values((len(names),), "float32", "the probability of each class"),
        step,
        {
            "classes": list(names),
            "temperature": temperature,
            "thresholds": dict(known_thresholds(run, step)),
        },
    )


def _probabilities(
    inference: Inference, temperature: float, images: UInt8[Array, "batch height width channels"]
) -> Float[Array, "batch classes"]:
    return inference.outputs.traced_probabilities(inference.traced(images) / temperature)
