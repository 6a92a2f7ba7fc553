"""One contender in a process of its own, controlled by standard input.

    python bench/worker.py ROW CONTENDER SCRATCH

It answers each line with one line of JSON on standard output: first its identity, then, to "run N",
how long N steps took, and to "facts" facts about itself. It ends with its input.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from frame import peak_bytes
from rows import Row, row_named


def main() -> None:
    """Creates the contender and obeys commands."""
    name, contender, scratch = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries' output is not an answer
    rival = _make(row_named(name), contender, Path(scratch))

    def answer(**facts: Any) -> None:
        print(json.dumps(facts), file=answers, flush=True)

    answer(software=rival.software, first_step=rival.first_step)
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "run":
            wall, cpu = time.perf_counter(), time.process_time()
            rival.run(int(arguments[0]))
            answer(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)
        else:
            answer(**{"peak_bytes": peak_bytes(), **rival.facts()})


def _make(row: Row, contender: str, scratch: Path) -> Any:
    """Imports only what this contender needs: each has its own threads and memory."""
    if contender == "ours":
        import jax

        jax.config.update("jax_compilation_cache_dir", str(scratch / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        from ours import Ours

        return Ours(row, scratch)
    if contender == "keras":
        os.environ["KERAS_BACKEND"] = "tensorflow"
        from keras_acgan import Rival as KerasRival

        return KerasRival(row, scratch)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(scratch / f"inductor-{contender}")
    from pytorch import Rival

    return Rival(row, contender, scratch)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
