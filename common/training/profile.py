"""--profile: a trace of a few training steps, for TensorBoard or ui.perfetto.dev."""

from collections.abc import Callable
from pathlib import Path

import jax

from common.program.log import log

_FIRST, _LAST = 10, 20  # steps of a session: what is slow only at first is over


class Profile:
    """Traces the steps 10 to 20 of a session, or none where there is no folder for it."""

    def __init__(self, folder: Path | None, step: int) -> None:
        """Looks ahead from the step at which the session starts."""
        self._folder, self._tracing = folder, False
        self._edges = (step + _FIRST, step + _LAST)

    def next_boundary(self, step: int, otherwise: int) -> int:
        """Returns the first step after `step` at which a trace begins or ends, if it is sooner."""
        if self._folder is None:
            return otherwise
        return min([*(edge for edge in self._edges if edge > step), otherwise])

    def after(self, step: int, finish: Callable[[], None]) -> None:
        """Begins or ends the trace where it is time; `finish` waits for the steps so far."""
        if self._folder is None or step not in self._edges:
            return
        finish()
        if step == self._edges[0]:
            jax.profiler.start_trace(self._folder)
            self._tracing = True
        else:
            self.close()

    def close(self) -> None:
        """Writes the trace, if one has begun."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
            log.info("a trace of some steps is in %s", self._folder)
