"""PyTorch as a contender: the same networks and updates, as PyTorch users write them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import Row, settings
from torch import Tensor, nn
from torch.nn import functional
from torch_forms import Networks, device
from torch_gan_training import Arrays, GANTraining, JointTraining
from torch_unet import TorchUNet, predict_folder
from torch_vgg16 import TorchVGG16


def software() -> str:
    """Returns the version, and the device of PyTorch."""
    where = "cuda" if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    return f"PyTorch {torch.__version__} ({where})"


def contender(config: Any, examples: Arrays, num_classes: int, channels: int, variant: str) -> Any:
    """Returns the training of one of our experiments in one of PyTorch's forms."""
    if config.task == "unet":
        return Segmentation(config, examples, channels, variant)
    if config.task == "classify":
        return Classification(config, examples, num_classes, variant)
    joint = config.model.name == "projected"
    return (JointTraining if joint else GANTraining)(config, examples, num_classes, variant)


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
        made = contender(config, examples, num_classes, channels, variant)
        made.load(_load(scratch / "weights.npz"))
        self.run: Callable[[int], None] = {
            "train": made.run,
            "forward": getattr(made, "forward", made.run),
            "generate": lambda times: made.generate(times, scratch / "theirs"),
            "predict": lambda times: made.predict(times, scratch / "slices", scratch / "theirs"),
        }[row.work]
        building = time.perf_counter() - started
        self.software = f"{software()}, {variant}"
        self.difference = _difference(
            made.outputs(_load(scratch / "inputs.npz")), _load(scratch / "outputs.npz")
        )
        started = time.perf_counter()
        self.run(1)
        self.first_step = building + time.perf_counter() - started

    def facts(self) -> dict[str, float]:
        """Returns facts about this rival."""
        return {"difference": self.difference}


class _Supervised(ABC):
    """One network, repeatedly on the same batch."""

    def __init__(self, config: Any, examples: Arrays, network: nn.Module, variant: str) -> None:
        self._networks = Networks(variant, config.train.dtype, network=network)
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
