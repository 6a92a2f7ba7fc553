"""--mode=generate --walk: what lies between images, as a strip and as a film.

In a meaningful latent space images change gradually on the way: a sign, though no proof, that the
generator has not memorised images.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from common.data.prepared.prepared import DataCard
from common.data.transforms import from_signed_unit
from common.program.errors import UserError
from common.report.film import write_film
from common.report.images import grid, titled, write_picture, zoom_for
from gan.flags import GANOptions
from gan.sampling import Sampler
from gan.selection import Drawing
from gan.state import GAN

FILES = ("walk.png", "walk.webp")
_STRIP_COLUMNS = 12
_AXIS_ENDS = {"normal": 3.0, "uniform": 1.0}  # how far an axis is followed

Latent = Float[Array, "*rows latent"]


def linear(start: Latent, end: Latent, share: Float[Array, " frames"]) -> Float[Array, "..."]:
    """Returns `(1 - t) start + t end` for every share t of the way."""
    t = share[:, None]
    return (1 - t) * start[..., None, :] + t * end[..., None, :]


def spherical(start: Latent, end: Latent, share: Float[Array, " frames"]) -> Float[Array, "..."]:
    """Returns the path from start to end along the great circle, its length changing evenly.

    `(sin((1 - t) w) start/|start| + sin(t w) end/|end|) / sin(w)` with w the angle between them
    (Shoemake, 1985), times a length between theirs: a straight line between normal latents of many
    entries passes through lengths that are never drawn (White, "Sampling Generative Networks",
    2016).
    """
    lengths = [jnp.linalg.norm(end_point, axis=-1, keepdims=True) for end_point in (start, end)]
    one, other = start / lengths[0], end / lengths[1]
    angle = jnp.arccos(jnp.clip((one * other).sum(-1), -1, 1))[..., None, None]
    t = share[:, None]
    safe = jnp.where(jnp.sin(angle) > 1e-6, angle, 1.0)
    along = (
        jnp.sin((1 - t) * safe) * one[..., None, :] + jnp.sin(t * safe) * other[..., None, :]
    ) / jnp.sin(safe)
    along = jnp.where(jnp.sin(angle) > 1e-6, along, linear(one, other, share))
    return along * linear(lengths[0], lengths[1], share)


def check_walk(gan: GAN, card: DataCard, options: GANOptions) -> None:
    """Refuses a walk that cannot be made.

    Raises:
      UserError: an option is invalid.
    """
    if options.bits == 16:
        raise UserError("--bits=16 is for single images; leave it out with --walk.")
    if options.walk == "spherical" and gan.latent != "normal":
        raise UserError(
            f"--walk=spherical is for normal latents, but this run's are {gan.latent}; use linear."
        )
    if options.walk == "axes" and options.axis > gan.latent_size - options.rows:
        raise UserError(
            f"--axis={options.axis} plus --rows={options.rows} exceeds the {gan.latent_size}"
            " entries of this run's latents; lower one."
        )
    if options.walk == "classes":
        _path(gan, card, options)


def write_walk(
    output: Path,
    gan: GAN,
    drawing: Drawing,
    card: DataCard,
    options: GANOptions,
) -> None:
    """Writes walk.png, a row of images for each walk, and walk.webp, all walks side by side.

    The walks: "linear" and "spherical" go from latent 2r to latent 2r + 1 in row r; "axes" moves
    entry `axis` + r of latent 0 from end to end; "classes" keeps latent r and goes from class to
    class, those of `label` ("A,B,C") or all. Elsewhere `label` is the class, default: all in turn.
    """
    sampler = drawing.sampler
    latents, labels = _points(gan, sampler, card, options)
    rows, frames = latents.shape[:2]
    values = sampler.many_values(
        drawing.variables,
        latents.reshape(rows * frames, -1),
        labels.reshape(rows * frames, *labels.shape[2:]),
        # The same in all frames of a walk: what changes is the way between the latents.
        sampler.noise_keys(options.seed, jnp.repeat(jnp.arange(rows), frames)),
    )
    images = np.asarray(from_signed_unit(jnp.asarray(values)))
    images = images.reshape(rows, frames, *images.shape[1:])
    zoom = zoom_for(card.image_size)
    columns = np.linspace(0, frames - 1, min(frames, _STRIP_COLUMNS)).round().astype(int)
    title = f"{options.walk} walk; trained on {card.caption}"
    strip, film = (output / name for name in FILES)
    write_picture(strip, titled(grid(images[:, columns], zoom), title))
    there_and_back = [*range(frames), *range(frames - 2, 0, -1)]
    write_film(film, [grid(images[None, :, frame], zoom) for frame in there_and_back])


def _points(
    gan: GAN, sampler: Sampler, card: DataCard, options: GANOptions
) -> tuple[Float[Array, "rows frames latent"], Shaped[Array, "rows frames *classes"]]:
    """Returns the points of the walks: latents, and the classes or their shares."""
    rows, frames = options.rows, options.frames
    share = jnp.linspace(0.0, 1.0, frames)
    chosen = [card.classes.index(options.label)] if options.label in card.classes else None
    turn = np.resize(chosen or np.arange(len(card.classes)), rows)
    labels = jnp.broadcast_to(jnp.asarray(turn, jnp.int32)[:, None], (rows, frames))

    def latents(numbers: np.ndarray) -> Array:
        return sampler.latents(options.seed, jnp.asarray(numbers))

    if options.walk in ("linear", "spherical"):
        way = {"linear": linear, "spherical": spherical}[options.walk]
        return way(latents(2 * np.arange(rows)), latents(2 * np.arange(rows) + 1), share), labels
    if options.walk == "axes":
        end = _AXIS_ENDS[gan.latent]
        points = jnp.tile(latents(np.arange(1))[:, None], (rows, frames, 1))
        axes = options.axis + jnp.arange(rows)
        moved = points.at[jnp.arange(rows), :, axes].set(end * (2 * share - 1))
        return moved, jnp.broadcast_to(labels[0, 0], (rows, frames))
    path = _path(gan, card, options)
    # The share of a class falls linearly to 0 at the stations before and after its own.
    stations = jnp.abs(share[:, None] * (len(path) - 1) - jnp.arange(len(path)))
    of_class = jnp.maximum(0, 1 - stations) @ jnp.eye(len(card.classes))[jnp.asarray(path)]
    points = jnp.repeat(latents(np.arange(rows))[:, None], frames, axis=1)
    return points, jnp.broadcast_to(of_class, (rows, *of_class.shape))


def _path(gan: GAN, card: DataCard, options: GANOptions) -> list[int]:
    """Returns the classes that a walk from class to class visits."""
    if not gan.conditional:
        raise UserError(
            "--walk=classes needs a conditional generator, such as acgan; use --walk=spherical."
        )
    names = options.label.split(",") if options.label else list(card.classes)
    if unknown := [name for name in names if name not in card.classes]:
        raise UserError(
            f"--label={options.label}: {unknown[0]} is unknown; the classes are"
            f" {', '.join(card.classes)}."
        )
    if len(names) < 2:
        raise UserError("--walk=classes needs two classes or more, such as --label=A,B.")
    return [card.classes.index(name) for name in names]
