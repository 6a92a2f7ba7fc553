"""PyTorch as a contender: the same networks and updates, as PyTorch users write them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rows import NUM_FILES, Row, settings
from torch import Tensor, nn
from torch.nn import functional
from torch_gans import make_networks
from torch_unet import TorchUNet, predict_folder
from torch_vgg16 import TorchVGG16
from torch_weights import Weights, copy_weights

Arrays = dict[str, np.ndarray]

_BATCH = 64  # of generated images


def software() -> str:
    """Returns the version, and the device of PyTorch."""
    where = "cuda" if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    return f"PyTorch {torch.__version__} ({where})"


def device() -> torch.device:
    """Returns the device that PyTorch uses."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Rival:
    """What the worker runs for PyTorch, from our weights.

    Attributes:
      software: its version.
      run: runs a number of steps and waits for them.
      first_step: seconds from building to the end of the first step.
      difference: the largest between its outputs and ours, as a share of the largest output.
    """

    def __init__(self, row: Row, variant: str, scratch: Path) -> None:
        started = time.perf_counter()
        config = settings(row, scratch / "cache")
        examples = _load(scratch / "examples.npz")
        num_classes = int(examples["label"].max()) + 1 if "label" in examples else 1
        channels = examples["image"].shape[-1]
        contender: Any
        if config.task == "gan":
            contender = GANTraining(config, examples, num_classes, variant)
        elif config.task == "unet":
            contender = Segmentation(config, examples, channels, variant)
        else:
            contender = Classification(config, examples, num_classes, variant)
        contender.load(_load(scratch / "weights.npz"))
        self.run: Callable[[int], None] = {
            "train": contender.run,
            "forward": getattr(contender, "forward", contender.run),
            "generate": lambda times: contender.generate(times, scratch / "theirs"),
            "predict": lambda times: contender.predict(
                times, scratch / "slices", scratch / "theirs"
            ),
        }[row.work]
        building = time.perf_counter() - started
        self.software = f"{software()}, {variant}"
        self.difference = _difference(
            contender.outputs(_load(scratch / "inputs.npz")), _load(scratch / "outputs.npz")
        )
        started = time.perf_counter()
        self.run(1)
        self.first_step = building + time.perf_counter() - started

    def facts(self) -> dict[str, float]:
        """Returns facts about this rival."""
        return {"difference": self.difference}


class _Networks:
    """Networks in one of PyTorch's forms."""

    def __init__(self, variant: str, dtype: str, **networks: nn.Module) -> None:
        self._dtype = dtype
        self._last = "channels_last" in variant
        self._compiled = "compile" in variant
        for network in networks.values():
            moved: Any = network
            moved.to(device())
            if self._last:
                moved.to(memory_format=torch.channels_last)  # an overload that mypy cannot see
        self.plain = networks
        self.call = {
            name: torch.compile(network) if self._compiled else network
            for name, network in networks.items()
        }

    def precision(self) -> torch.autocast:
        """Returns the context for networks and losses of a training step."""
        narrow = self._dtype == "bfloat16"
        return torch.autocast(device().type, torch.bfloat16, enabled=narrow)

    def load(self, weights: Weights) -> None:
        """Loads our weights."""
        for name, network in self.plain.items():
            copy_weights(weights, name, network)

    def placed(self, images: Tensor) -> Tensor:
        """Returns images NCHW as the networks take them."""
        images = images.to(device())
        return images.to(memory_format=torch.channels_last) if self._last else images


class GANTraining:
    """The usual loop: one generated batch serves both updates."""

    def __init__(self, config: Any, examples: Arrays, num_classes: int, variant: str) -> None:
        channels = examples["image"].shape[-1]
        generator, discriminator = make_networks(config, channels, num_classes)
        self._networks = _Networks(
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
        self._weight = config.loss.discriminator_weight
        self._optimizers = {
            name: torch.optim.Adam(
                network.parameters(),
                config.optimizer[name].learning_rate,
                betas=(config.optimizer[name].beta1, config.optimizer[name].beta2),
                eps=config.optimizer[name].epsilon,
                fused=True,  # faster than separate operations, on a CPU, too
            )
            for name, network in self._networks.plain.items()
        }
        self.load = self._networks.load

    def run(self, num_steps: int) -> None:
        """Runs steps and reads the last one's losses."""
        generator, discriminator = (
            self._networks.call[name] for name in ("generator", "discriminator")
        )
        critic, seen = self._networks.plain["discriminator"], self._seen
        for _ in range(num_steps):
            rows = torch.randint(len(self._images), (seen,), device=device())
            images = self._images[rows].float() / 127.5 - 1
            latents = torch.randn(self._batch, self._latent, device=device())
            asked = torch.randint(self._classes, (self._batch,), device=device())
            with self._networks.precision():
                fakes = generator(latents, asked)
                real = _adversarial(discriminator(images), 1.0, self._labels[rows])
                fake = _adversarial(discriminator(fakes.detach()[:seen]), 0.0, asked[:seen])
                loss = self._weight * (real + fake)
            self._optimizers["discriminator"].zero_grad()
            loss.backward()
            self._optimizers["discriminator"].step()
            critic.requires_grad_(False)
            self._optimizers["generator"].zero_grad()
            with self._networks.precision():
                toward_real = _adversarial(discriminator(fakes), 1.0, asked)
            toward_real.backward()
            self._optimizers["generator"].step()
            critic.requires_grad_(True)
        loss.item()
        toward_real.item()

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
            logits, class_logits = networks[1](images)
        for network in networks:
            network.train()
        found = {"images": images.permute(0, 2, 3, 1).cpu().numpy(), "logits": logits.cpu().numpy()}
        if class_logits is not None:
            found["class_logits"] = class_logits.cpu().numpy()
        return found


class _Supervised(ABC):
    """One network, repeatedly on the same batch."""

    def __init__(self, config: Any, examples: Arrays, network: nn.Module, variant: str) -> None:
        self._networks = _Networks(variant, config.train.dtype, network=network)
        self._batch = config.data.batch_size
        images = examples["image"][: self._batch] / np.float32(255)
        self._images = self._networks.placed(
            torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        )
        rule = config.optimizer
        self._optimizer = torch.optim.AdamW(
            network.parameters(), rule.learning_rate, eps=rule.epsilon, weight_decay=0.0, fused=True
        )
        self.load = self._networks.load

    @abstractmethod
    def loss(self, logits: Tensor) -> Tensor:
        """Returns the loss to minimise."""

    def run(self, num_steps: int) -> None:
        """Runs training steps."""
        self._networks.plain["network"].train()
        for _ in range(num_steps):
            self._optimizer.zero_grad()
            with self._networks.precision():
                loss = self.loss(self._networks.call["network"](self._images))
            loss.backward()
            self._optimizer.step()
        loss.item()

    def outputs(self, inputs: Arrays) -> Arrays:
        """Returns the logits of our images, in our layout."""
        images = torch.from_numpy(inputs["images"] / np.float32(255)).permute(0, 3, 1, 2)
        network = self._networks.plain["network"].eval()
        with torch.inference_mode():
            logits = network(self._networks.placed(images.contiguous())).cpu()
        return {"logits": (logits.permute(0, 2, 3, 1) if logits.ndim == 4 else logits).numpy()}


class Segmentation(_Supervised):
    """The U-Net."""

    def __init__(self, config: Any, examples: Arrays, channels: int, variant: str) -> None:
        model = config.model
        network = TorchUNet(channels, 1, model.width, model.depth, model.epsilon)
        super().__init__(config, examples, network, variant)
        masks = examples["mask"][: self._batch].reshape(
            self._batch, 1, *examples["mask"].shape[1:3]
        )
        self._masks = torch.from_numpy(masks.astype(np.float32)).to(device())

    def loss(self, logits: Tensor) -> Tensor:
        """Returns the cross-entropy of the pixels."""
        return functional.binary_cross_entropy_with_logits(logits, self._masks)

    def predict(self, times: int, folder: Path, output: Path) -> None:
        """Segments a folder."""
        output.mkdir(exist_ok=True)
        network = self._networks.plain["network"].eval()
        for _ in range(times):
            predict_folder(network, sorted(folder.iterdir()), output, batch=16)


class Classification(_Supervised):
    """VGG16."""

    def __init__(self, config: Any, examples: Arrays, num_classes: int, variant: str) -> None:
        super().__init__(config, examples, TorchVGG16(num_classes), variant)
        labels = examples["label"][: self._batch].astype(np.int64)
        self._labels = torch.from_numpy(labels).to(device())

    def loss(self, logits: Tensor) -> Tensor:
        """Returns the cross-entropy."""
        return functional.cross_entropy(logits, self._labels)

    def forward(self, times: int) -> None:
        """Classifies the batch."""
        with torch.inference_mode():
            for _ in range(times):
                self._networks.call["network"](self._images).cpu()


def _adversarial(judged: tuple[Tensor, Tensor | None], target: float, labels: Tensor) -> Tensor:
    """Returns the mean loss for "real" (1) or "generated" (0), plus that for the classes."""
    logits, class_logits = judged
    loss = functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
    return loss if class_logits is None else loss + functional.cross_entropy(class_logits, labels)


def _difference(theirs: Arrays, ours: Arrays) -> float:
    """Returns the largest difference of two outputs, as a share of the largest.

    Raises:
      ValueError: the outputs differ in name, or hardly depend on the inputs.
    """
    if theirs.keys() != ours.keys():
        raise ValueError(f"outputs {sorted(theirs)} there, {sorted(ours)} here")
    largest = 0.0
    for name, expected in ours.items():
        if np.std(expected, axis=0).max() < 1e-4 * np.abs(expected).max():
            raise ValueError(f"{name} hardly depends on the inputs: nothing was compared")
        difference = np.abs(theirs[name] - expected).max() / np.abs(expected).max()
        largest = max(largest, float(difference))
    return largest


def _load(file: Path) -> Arrays:
    with np.load(file) as arrays:
        return dict(arrays)
