"""The networks of the AC-GAN as Keras users write them, after the public Keras-GAN script.

The layers have the names of `gan/networks/acgan.py`, so that `copy_weights` can pair them.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

# Keras' name of a weight -> its place in Flax. Both have NHWC images and HWIO kernels.
FLAX_NAMES = {
    "kernel": ("params", "kernel"),
    "bias": ("params", "bias"),
    "embeddings": ("params", "embedding"),
    "gamma": ("params", "scale"),
    "beta": ("params", "bias"),
    "moving_mean": ("batch_stats", "mean"),
    "moving_variance": ("batch_stats", "var"),
}


def build_generator(image_size: int, channels: int, num_classes: int, latent_size: int) -> Any:
    """Returns the model [latents, labels [n, 1]] -> images in [-1, 1]."""
    small = image_size // 4
    latents = keras.Input((latent_size,))
    labels = keras.Input((1,), dtype="int32")
    embedded = layers.Embedding(num_classes, latent_size, name="embedding")(labels)
    x = layers.multiply([latents, layers.Flatten()(embedded)])
    x = layers.Dense(128 * small**2, activation="relu", name="dense")(x)
    x = layers.Reshape((small, small, 128))(x)
    x = layers.BatchNormalization(momentum=0.8, name="norm_1")(x)
    x = layers.UpSampling2D()(x)
    x = layers.Conv2D(128, 3, padding="same", activation="relu", name="upsample_1")(x)
    x = layers.BatchNormalization(momentum=0.8, name="norm_2")(x)
    x = layers.UpSampling2D()(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu", name="upsample_2")(x)
    x = layers.BatchNormalization(momentum=0.8, name="norm_3")(x)
    images = layers.Conv2D(channels, 3, padding="same", activation="tanh", name="to_image")(x)
    return keras.Model([latents, labels], images)


def build_discriminator(
    image_size: int, channels: int, num_classes: int, dropout_rate: float = 0.25
) -> Any:
    """Returns the model images -> [probability of "real" [n, 1], probabilities of the classes]."""

    def activate(x: Any) -> Any:
        return layers.Dropout(dropout_rate)(layers.LeakyReLU(negative_slope=0.2)(x))

    images = keras.Input((image_size, image_size, channels))
    x = activate(layers.Conv2D(16, 3, strides=2, padding="same", name="conv_1")(images))
    x = layers.Conv2D(32, 3, strides=2, padding="same", name="conv_2")(x)
    x = activate(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    x = layers.BatchNormalization(momentum=0.8, name="norm_2")(x)
    x = activate(layers.Conv2D(64, 3, strides=2, padding="same", name="conv_3")(x))
    x = layers.BatchNormalization(momentum=0.8, name="norm_3")(x)
    x = activate(layers.Conv2D(128, 3, padding="same", name="conv_4")(x))
    x = layers.Flatten()(x)
    real = layers.Dense(1, activation="sigmoid", name="real_or_generated")(x)
    classes = layers.Dense(num_classes, activation="softmax", name="classes")(x)
    return keras.Model(images, [real, classes])


def copy_weights(variables: Mapping[str, Any], model: Any) -> None:
    """Copies the weights of our network to a model.

    Raises:
      ValueError: the two do not have the same weights with the same shapes.
    """
    ours = {
        (collection, layer, name): value
        for collection, of_layers in variables.items()
        for layer, of_layer in of_layers.items()
        for name, value in of_layer.items()
    }
    theirs = weights(model)
    if unpaired := ours.keys() ^ theirs.keys():
        raise ValueError(f"only one of the two networks has {sorted(unpaired)}")
    for key, weight in theirs.items():
        weight.assign(np.asarray(ours[key]))


def weights(model: Any) -> dict[tuple[str, str, str], Any]:
    """Returns the weights by their Flax names: (collection, layer, name)."""
    named = {}
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name in FLAX_NAMES:  # others are random states of dropout
                collection, name = FLAX_NAMES[weight.name]
                named[collection, layer.name, name] = weight
    return named
