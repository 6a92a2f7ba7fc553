"""The theory in one picture: a GAN of one-pixel images, whose densities can be plotted.

Figure 1 of Goodfellow et al., "Generative Adversarial Nets" (2014): the density of the data, the
density that the generator draws, the discriminator, and the map from latents to images. At the
equilibrium the densities are equal and the discriminator is 1/2 everywhere.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from common.data.transforms import to_signed_unit
from common.report.images import Picture
from gan.sampling import Sampler
from gan.state import GAN, GANState
from gan.steps import output_of

_SEED = 0
_NUM_DRAWN = 4096
_NUM_POINTS = 201
_SUPPORT = (1.0, 99.0)  # percentiles of the data
_NUM_ARROWS = 25
_LEVELS_PER_BIN = 4


@dataclass(frozen=True)
class Densities:
    """What the picture shows, in the range of the networks, [-1, 1].

    Attributes:
      data: the real values.
      latents: the first entry of each latent, sorted.
      drawn: the generator's values for these latents.
      points: evenly spaced over the data's support.
      discriminator: D at these points.
    """

    data: Float[np.ndarray, " real"]
    latents: Float[np.ndarray, " drawn"]
    drawn: Float[np.ndarray, " drawn"]
    points: Float[np.ndarray, " points"]
    discriminator: Float[np.ndarray, " points"]

    @property
    def distance(self) -> float:
        """Returns the Wasserstein-1 distance of drawn from real, in deviations of the data."""
        from scipy.stats import wasserstein_distance

        return float(wasserstein_distance(self.drawn, self.data) / self.data.std())

    @property
    def indecision(self) -> float:
        """Returns the mean of `|D(x) - 1/2|` over the data's support; 0 at the equilibrium."""
        return float(np.abs(self.discriminator - 0.5).mean())


def measure(
    gan: GAN, sampler: Sampler, state: GANState, images: UInt8[np.ndarray, "n 1 1 1"]
) -> Densities:
    """Draws from the generator and evaluates the discriminator over the data's support."""
    data = np.asarray(to_signed_unit(jnp.asarray(images)), np.float64).ravel()
    first, last = np.percentile(data, _SUPPORT)
    points = np.linspace(first, last, _NUM_POINTS)
    latents = sampler.latents(_SEED, jnp.arange(_NUM_DRAWN))
    latents = latents[jnp.argsort(latents[:, 0])]
    noise_keys = sampler.noise_keys(_SEED, jnp.arange(_NUM_DRAWN))
    variables, labels = sampler.variables(state, 2), jnp.zeros(_NUM_DRAWN, jnp.int32)
    drawn = sampler.values(variables, latents, labels, noise_keys)
    decided: Any = gan.networks.discriminator.apply(
        state.discriminator.variables,
        jnp.asarray(points, jnp.float32).reshape(-1, 1, 1, 1),
        jnp.zeros(_NUM_POINTS, jnp.int32),
        train=False,
    )
    return Densities(
        data=data,
        latents=np.asarray(latents[:, 0], np.float64),
        drawn=np.asarray(drawn, np.float64).ravel(),
        points=points,
        discriminator=np.asarray(output_of(gan, decided), np.float64),
    )


def density_picture(
    gan: GAN, sampler: Sampler, state: GANState, images: UInt8[np.ndarray, "n 1 1 1"]
) -> Picture:
    """Draws the densities above the map from latents to images."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second to import
    from matplotlib.figure import Figure

    seen = measure(gan, sampler, state, images)
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    # All bins hold equally many stored levels; otherwise the data's density has false peaks.
    edges = (np.arange(0, 257, _LEVELS_PER_BIN) - 0.5) / 127.5 - 1
    middles = (edges[1:] + edges[:-1]) / 2
    for values, style, label in (
        (seen.data, "k:", "data"),
        (seen.drawn, "g-", "generator"),
    ):
        above.plot(middles, np.histogram(values, edges, density=True)[0], style, label=label)
    above.plot(seen.points, seen.discriminator, "b--", label="discriminator")
    above.axhline(0.5, color="b", linewidth=0.5, alpha=0.5)
    above.set_xlim(-1, 1)
    above.set_ylim(0, None)
    above.set_ylabel("density, D(x)")
    above.legend(loc="upper left")
    above.set_title(
        f"step {int(state.step)}: Wasserstein-1 distance {seen.distance:.3f} standard deviations,"
        f" mean |D - 1/2| {seen.indecision:.3f}",
        fontsize=10,
    )
    # Latents between neighbouring arrows are equally likely; together they span the picture.
    picked = np.linspace(0, len(seen.latents) - 1, _NUM_ARROWS + 2).astype(int)[1:-1]
    places = seen.latents / np.abs(seen.latents).max()
    for index in picked:
        below.annotate(
            "",
            xy=(seen.drawn[index], 1),
            xytext=(places[index], 0),
            arrowprops={"arrowstyle": "->", "linewidth": 0.7},
        )
    below.set_ylim(0, 1)
    below.set_yticks([0, 1], ["z", "x"])
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
