"""What chips exchange in a step, read from the compiled program."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# "%psum.1 = f32[2,256]{1,0:T(2,128)} all-reduce(%x), ..."; several arrays stand in parentheses, and
# an exchange in two halves begins with "-start".
_EXCHANGE = re.compile(
    r"= (?P<shapes>\(.*?\)|\S+) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all"
    r"|collective-permute)(?P<start>-start)?\((?P<rest>.*)"
)
# A TPU's exchange that goes on during several computations stands in each of them.
_CHAIN = re.compile(r'chain_id="\d+"')
_SHAPE = re.compile(r"\b(pred|bf16|f8\w*|[fsuc]\d+)\[([\d,]*)\]")
_BITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Exchange:
    """One exchange among all chips.

    Attributes:
      kind: "all-reduce", "all-gather", ...
      bytes: of its result on a chip.
      arrays: how many it carries together.
    """

    kind: str
    bytes: int
    arrays: int

    def sent(self, chips: int) -> float:
        """Returns the bytes that a chip sends in the best exchange along a ring.

        An all-reduce sends each chip's share around twice, the others once (Patarasuk and Yuan,
        "Bandwidth optimal all-reduce algorithms", 2009).
        """
        times = 2 if self.kind == "all-reduce" else 1
        return times * (chips - 1) / chips * self.bytes


def exchanges_of(program: str) -> list[Exchange]:
    """Returns the exchanges of a program, in its order.

    Args:
      program: XLA's text of a compiled program; an exchange within a loop counts once.
    """
    found, chains = [], set()
    for match in _EXCHANGE.finditer(program):
        if chain := _CHAIN.search(match["rest"]):
            if chain[0] in chains:
                continue
            chains.add(chain[0])
        shapes = _SHAPE.findall(match["shapes"])
        if match["start"]:
            shapes = _results(match["shapes"], match["kind"])
        sizes = [_bytes(dtype, dimensions) for dtype, dimensions in shapes]
        found.append(Exchange(match["kind"], sum(sizes), len(sizes)))
    return found


def _results(shapes: str, kind: str) -> list[tuple[str, str]]:
    """Returns the results of an exchange in two halves, whose beginning names its inputs, too.

    All of them as "((inputs), results)", or only a gather, and then as "(inputs, results)".
    """
    if shapes.startswith("(("):
        return _SHAPE.findall(shapes.partition(")")[2])
    found = _SHAPE.findall(shapes)
    return found[len(found) // 2 :] if kind == "all-gather" else found


def total_sent(exchanges: Sequence[Exchange], chips: int) -> float:
    """Returns the bytes that a chip sends in all exchanges."""
    return float(sum(exchange.sent(chips) for exchange in exchanges))


def _bytes(dtype: str, dimensions: str) -> int:
    bits = 8 if dtype == "pred" else int(_BITS.findall(dtype)[0])
    return int(np.prod([int(n) for n in dimensions.split(",") if n], dtype=np.int64)) * bits // 8
