"""--profile: a trace of a few training steps, for TensorBoard or ui.perfetto.dev."""

from pathlib import Path

import jax

from common.log import log

_FIRST, _LAST = 10, 20  # steps of a session: what is slow only at first is over


class Profile:
    """Traces the steps 10 to 20 of a session, or none where there is no folder for it."""

    def __init__(self, folder: Path | None, step: int) -> None:
        """Looks ahead from the step at which the session starts."""
        self._folder, self._start, self._tracing = folder, step, False

    def next_boundary(self, step: int, otherwise: int) -> int:
        """Returns the first step after `step` at which a trace begins or ends, if it is sooner."""
        if self._folder is None:
            return otherwise
        ahead = (self._start + edge for edge in (_FIRST, _LAST) if self._start + edge > step)
        return min([*ahead, otherwise])

    def before(self, step: int) -> None:
        """Begins the trace when step 10 is next; the step before it must have ended."""
        if self._folder is not None and step == self._start + _FIRST:
            jax.profiler.start_trace(self._folder)
            self._tracing = True

    def due(self, step: int) -> bool:
        """Says whether the trace begins or ends after this step, for which it must be over."""
        edges = self._start + _FIRST, self._start + _LAST
        return self._folder is not None and step in edges

    def after(self, step: int, end: bool) -> None:
        """Writes the trace after step 20, or at the end of the run."""
        if self._tracing and (end or step >= self._start + _LAST):
            jax.profiler.stop_trace()
            self._tracing = False
            log.info("a trace of the steps up to %d is in %s", step, self._folder)
