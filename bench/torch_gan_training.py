"""A GAN's training as PyTorch users write it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rows import NUM_FILES
from torch import Tensor
from torch.nn import functional
from torch_forms import Networks, device
from torch_networks import make_networks
from torch_terms import augmented, diversity, spread

Arrays = dict[str, np.ndarray]

_BATCH = 64  # of generated images


class GANTraining:
    """The usual loop: one generated batch serves both updates."""

    def __init__(self, config: Any, examples: Arrays, num_classes: int, variant: str) -> None:
        channels = examples["image"].shape[-1]
        generator, discriminator = make_networks(config, channels, num_classes)
        self._networks = Networks(
            variant, config.train.dtype, generator=generator, discriminator=discriminator
        )
        self._images = self._networks.placed(
            torch.from_numpy(examples["image"]).permute(0, 3, 1, 2).contiguous()
        )
        labels = examples.get("label", np.zeros(len(examples["image"])))
        self._labels = torch.from_numpy(labels.astype(np.int64)).to(device())
        self._classes, self._latent = num_classes, config.model.generator.latent_size
        self._batch = config.data.batch_size
        self._seen = self._batch // 2 if config.optimizer.half_batches else self._batch
        self._config, self._step = config, 0
        self._learning = {
            name: [x for x in network.parameters() if x.requires_grad]
            for name, network in self._networks.plain.items()
        }
        self._average = [x.detach().clone() for x in self._learning["generator"]]
        self._optimizers = {
            name: torch.optim.Adam(
                self._learning[name],
                config.optimizer[name].learning_rate,
                betas=(config.optimizer[name].beta1, config.optimizer[name].beta2),
                eps=config.optimizer[name].epsilon,
                fused=True,  # faster than separate operations, on a CPU, too
            )
            for name in self._networks.plain
        }
        self.load = self._networks.load

    def run(self, num_steps: int) -> None:
        """Runs steps and reads the last one's losses."""
        generator = self._networks.call["generator"]
        for _ in range(num_steps):
            rows = torch.randint(len(self._images), (self._seen,), device=device())
            images, labels = self._images[rows].float() / 127.5 - 1, self._labels[rows]
            latents = torch.randn(self._batch, self._latent, device=device())
            asked = torch.randint(self._classes, (self._batch,), device=device())
            with self._networks.precision():
                fakes = generator(latents, asked)
                shown = self.show(images, fakes)
                loss = self.discriminator_loss(shown, labels, asked)
            self._optimizers["discriminator"].zero_grad()
            loss.backward()
            self._optimizers["discriminator"].step()
            for weight in self._learning["discriminator"]:
                weight.requires_grad_(False)
            self._optimizers["generator"].zero_grad()
            with self._networks.precision():
                toward_real = self.generator_loss(shown, labels, asked)
            toward_real.backward()
            self._optimizers["generator"].step()
            for weight in self._learning["discriminator"]:
                weight.requires_grad_(True)
            self._move_average()
        loss.item()
        toward_real.item()

    def show(self, images: Tensor, fakes: Tensor) -> Any:
        """Returns real and generated images as both losses take them."""
        return images, fakes

    def discriminator_loss(self, shown: Any, labels: Tensor, asked: Tensor) -> Tensor:
        """Returns the loss of real and of generated images."""
        discriminator, seen, (images, fakes) = (
            self._networks.call["discriminator"],
            self._seen,
            shown,
        )
        real = _adversarial(discriminator(images, labels), 1.0, labels)
        fakes, asked = fakes.detach()[:seen], asked[:seen]
        fake = _adversarial(discriminator(fakes, asked), 0.0, asked)
        total: Tensor = self._config.loss.discriminator_weight * (real + fake)
        return total

    def generator_loss(self, shown: Any, labels: Tensor, asked: Tensor) -> Tensor:
        """Returns the loss of generated images toward "real"."""
        del labels
        return _adversarial(self._networks.call["discriminator"](shown[1], asked), 1.0, asked)

    def _move_average(self) -> None:
        """Moves the average of the generator's weights, at first faster."""
        if decay := self._config.model.average_decay:
            decay = min(decay, (1 + self._step) / (10 + self._step))
            torch._foreach_lerp_(self._average, self._learning["generator"], 1 - decay)
        self._step += 1

    def generate(self, times: int, output: Path) -> None:
        """Writes generated images as files, a folder for each class."""
        generator = self._networks.plain["generator"].eval()
        for label in range(self._classes):
            (output / str(label)).mkdir(parents=True, exist_ok=True)
        for _ in range(times):
            for start in range(0, NUM_FILES, _BATCH):
                count = min(_BATCH, NUM_FILES - start)
                asked = torch.arange(start, start + count, device=device()) % self._classes
                with torch.inference_mode():
                    images = generator(torch.randn(count, self._latent, device=device()), asked)
                    bytes_ = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()
                for number, image in enumerate(bytes_.permute(0, 2, 3, 1).numpy()):
                    squeezed = image[:, :, 0] if image.shape[-1] == 1 else image
                    folder = output / str(int(asked[number]))
                    Image.fromarray(squeezed).save(folder / f"{start + number:06d}.png")

    def outputs(self, inputs: Arrays) -> Arrays:
        """Returns the networks' outputs for our inputs, in our layout."""
        networks = [self._networks.plain[name].eval() for name in ("generator", "discriminator")]
        with torch.inference_mode():
            latents = torch.from_numpy(inputs["latents"]).to(device())
            labels = torch.from_numpy(inputs["labels"].astype(np.int64)).to(device())
            images = networks[0](latents, labels)
            logits, class_logits = networks[1](images, labels)
        for network in networks:
            network.train()
        found = {"images": images.permute(0, 2, 3, 1).cpu().numpy()}
        scales = {"logits": logits}
        if isinstance(logits, list):
            scales = {f"logits_{i}": scale for i, scale in enumerate(logits)}
        found |= {name: scale.cpu().numpy() for name, scale in scales.items()}
        if class_logits is not None:
            found["class_logits"] = class_logits.cpu().numpy()
        return found


class JointTraining(GANTraining):
    """Real and generated images are judged in one batch, after the same augmentation.

    The frozen trunk sees each image once, for both losses, and gradients go through it to the
    generated images alone. The loss is the hinge.
    """

    def __init__(self, config: Any, examples: Arrays, num_classes: int, variant: str) -> None:
        super().__init__(config, examples, num_classes, variant)
        discriminator: Any = self._networks.plain["discriminator"]
        self._see = self._networks.form(discriminator.see)
        self._judge = self._networks.form(discriminator.judge)
        self._augment = self._networks.form(augmented)
        self._diversity = self._networks.form(diversity)
        self._spread = self._networks.form(spread)

    def show(self, images: Tensor, fakes: Tensor) -> Any:
        """Returns varied images, what the trunk sees of them, and the images themselves."""
        settings = self._config.discriminator_augment
        real, fake = self._augment(images, settings), self._augment(fakes, settings)
        with torch.no_grad():
            of_real = self._see(real)
        return real, of_real, fake, self._see(fake), images, fakes

    def discriminator_loss(self, shown: Any, labels: Tensor, asked: Tensor) -> Tensor:
        """Returns the loss of real and of generated images."""
        real, of_real, fake, of_fake, *_ = shown
        seen_fake = fake.detach(), [maps.detach() for maps in of_fake]
        logits, classes = self._judged((real, of_real), seen_fake, labels, asked)
        hinges = [
            functional.relu(1 - x[: len(real)]).mean() + functional.relu(1 + x[len(real) :]).mean()
            for x in logits
        ]
        loss = self._config.loss
        total: Tensor = torch.stack(hinges).mean()
        if classes is not None:
            parts = zip(classes.split([len(real), len(fake)]), (labels, asked), strict=True)
            total = total + loss.class_weight * sum(functional.cross_entropy(*x) for x in parts)
        return loss.discriminator_weight * total

    def generator_loss(self, shown: Any, labels: Tensor, asked: Tensor) -> Tensor:
        """Returns the loss of generated images toward "real", and their likeness to each other."""
        real, of_real, fake, of_fake, images, fakes = shown
        logits, classes = self._judged((real, of_real), (fake, of_fake), labels, asked)
        loss = self._config.loss
        total = -torch.stack([x[len(real) :].mean() for x in logits]).mean()
        if classes is not None:
            total = total + loss.class_weight * functional.cross_entropy(
                classes[len(real) :], asked
            )
        total = total + loss.diversity * self._diversity(fakes, asked, images, labels)
        return total + loss.spread * self._spread(fakes, asked, images, labels)

    def _judged(self, real: Any, fake: Any, labels: Tensor, asked: Tensor) -> Any:
        """Returns the decision of images and of what the trunk sees of them, as one batch."""
        features = [torch.cat(maps) for maps in zip(real[1], fake[1], strict=True)]
        images, labels = torch.cat([real[0], fake[0]]), torch.cat([labels, asked])
        return self._judge(features, images, labels, len(real[0]))


def _adversarial(judged: tuple[Tensor, Tensor | None], target: float, labels: Tensor) -> Tensor:
    """Returns the mean loss for "real" (1) or "generated" (0), plus that for the classes."""
    logits, class_logits = judged
    loss = functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
    return loss if class_logits is None else loss + functional.cross_entropy(class_logits, labels)
