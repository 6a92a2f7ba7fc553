"""--mode=export of a generator: latents, labels and noise in, images out."""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from common.export.model import Model, Values
from common.export.write import write_model
from common.learning.network import Variables
from common.runs.workdir import Run
from gan.config import GANSettings
from gan.flags import GANOptions
from gan.sampling import Sampler
from gan.state import GAN, make_gan
from gan.trained import load_trained


def export(run: Run, options: GANOptions) -> None:
    """Writes the generator, as --mode=generate draws with it, for other programs.

    See common/export. What is drawn at random are inputs: latents and, for some networks, noise.

    Raises:
      UserError: there is no checkpoint, or --output can't be used.
    """
    write_model(run, options, _model)


def _model(run: Run) -> Model:
    card, gan = run.card, make_gan(GANSettings.of(run.config), run.card)
    trained = load_trained(run, gan)
    drawing, inputs = trained.drawing(truncation=1.0), _inputs(gan)
    return Model(
        partial(_images, drawing.sampler, drawing.variables, tuple(inputs)),
        inputs,
        Values(
            (card.image_size, card.image_size, card.channels),
            "float32",
            "pixels, -1 to 1, which stand for 0 to 255",
        ),
        trained.step,
        {"classes": list(card.classes) if gan.conditional else []},
    )


def _inputs(gan: GAN) -> dict[str, Values]:
    """Returns what a generator draws from, by name."""
    latents = "standard normal" if gan.latent == "normal" else "uniform in -1 to 1"
    inputs = {"latents": Values((gan.latent_size,), "float32", latents)}
    if gan.conditional:
        inputs["labels"] = Values((), "int32", "the number of each image's class in classes")
    for size in gan.networks.generator.noise_sizes:
        inputs[f"noise_{size}"] = Values((size, size, 1), "float32", "standard normal")
    return inputs


def _images(
    sampler: Sampler, variables: Variables, names: tuple[str, ...], *inputs: Array
) -> Float[Array, "batch height width channels"]:
    given = dict(zip(names, inputs, strict=True))
    latents = given.pop("latents")
    labels = given.pop("labels", jnp.zeros(latents.shape[:1], jnp.int32))
    noise = {int(name.removeprefix("noise_")): maps for name, maps in given.items()}
    return sampler.draw_values(variables, latents, labels, noise or None)
