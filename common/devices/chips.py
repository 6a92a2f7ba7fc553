"""What accelerators can do at most, as their makers publish it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """The published figures of one chip.

    Attributes:
      memory: bytes.
      bandwidth: of the memory, bytes a second.
      operations: a second in matrix products of bfloat16, two for each product that is summed.
      operations_float32: the same of float32 arrays as XLA multiplies them by default: on TPUs by
        one pass in bfloat16, on NVIDIA's GPUs in TF32.
      links: bytes a second that a chip sends to others at the same time as it receives as many.
      source: of the figures.
    """

    memory: float
    bandwidth: float
    operations: float
    operations_float32: float
    links: float
    source: str

    def rate(self, dtype: str) -> float:
        """Returns the operations a second of a network that computes in a dtype."""
        return self.operations if dtype == "bfloat16" else self.operations_float32


def _tpu(name: str, gib: float, bandwidth: float, operations: float, both_ways: float) -> Chip:
    """Returns a TPU; its links are published as the sum of both directions.

    Those of v4 are not on its page: six links of 50 GB/s each way (Jouppi et al., "TPU v4: An
    Optically Reconfigurable Supercomputer for Machine Learning", 2023).
    """
    page = f"cloud.google.com/tpu/docs/{name}"
    return Chip(gib * 2**30, bandwidth, operations, operations, both_ways / 2, page)


CHIPS = {
    "v4": _tpu("v4", 32.0, 1.2e12, 275e12, 600e9),
    "v5e": _tpu("v5e", 16.0, 819e9, 197e12, 400e9),
    "v5p": _tpu("v5p", 95.0, 2.765e12, 459e12, 1200e9),
    "v6e": _tpu("v6e", 32.0, 1.638e12, 918e12, 800e9),
    "tpu7x": _tpu("tpu7x", 192.0, 7.38e12, 2307e12, 1200e9),
    "h100": Chip(80e9, 3.35e12, 989.4e12, 494.7e12, 450e9, "nvidia.com: H100 SXM5 data sheet"),
    "h200": Chip(141e9, 4.8e12, 989.4e12, 494.7e12, 450e9, "nvidia.com: H200 data sheet"),
}
