"""--profile: a trace of a few training steps, for TensorBoard or ui.perfetto.dev."""

from collections.abc import Callable
from pathlib import Path

import jax

from common.program.log import log

_FIRST, _LAST = 10, 20  # steps of a session, after slow first ones


class Profile:
    """Traces steps 10 to 20 of a session, or none without a folder."""

    def __init__(self, folder: Path | None, step: int) -> None:
        """Computes the traced steps from the session's first step."""
        self._folder, self._tracing = folder, False
        self._edges = (step + _FIRST, step + _LAST)

    def next_boundary(self, step: int, otherwise: int) -> int:
        """Returns the step at which a trace next starts or ends, or `otherwise` if sooner."""
        if self._folder is None:
            return otherwise
        return min([*(edge for edge in self._edges if edge > step), otherwise])

    def after(self, step: int, finish: Callable[[], None]) -> None:
        """Starts or ends the trace when due; `finish` waits for the steps so far."""
        if self._folder is None or step not in self._edges:
            return
        finish()
        if step == self._edges[0]:
            jax.profiler.start_trace(self._folder)
            self._tracing = True
        else:
            self.close()

    def close(self) -> None:
        """Writes the trace, if one has started."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
            log.info("a trace of some steps is in %s", self._folder)
