"""The watch: processes of a run notice within a minute if one of them is gone, and say which.

Each says "alive" to process 0, and process 0 to each, twice a second. One whose connection ends
was killed; one that is silent hangs, or can't be reached. Process 0 tells the others, and all end
with one sentence. Left to itself, JAX would wait for a process that hangs, or abort with a stack
of C++.
"""

import atexit
import threading
import time
from typing import NoReturn

from common.devices.roll_call import Link
from common.program.errors import DivergenceError, PeerError, UserError
from common.program.interrupts import before_failure, end_at_once

_SILENT_SECONDS = 30.0  # longer than any computation keeps Python's lock
_PAUSE = 0.5  # seconds between two words
_OWN_WORDS_SECONDS = 2.0  # for a process that fails as another does to say so itself
_VERDICT_SECONDS = 5.0  # in which the watch notices who is gone
_CLEAN_UP_SECONDS = 30.0  # in which a process that has failed says why
_RESUME = "Run the same commands again: training resumes from the last checkpoint."


class Watch:
    """Watches the other processes from a thread of its own, until all are done."""

    def __init__(self, links: dict[int, Link], silent_seconds: float = _SILENT_SECONDS) -> None:
        """Stores the links: of process 0 to all others, of another one to process 0."""
        self._links = links
        self._silent_seconds = silent_seconds
        # Pauses are counted, not seconds: whoever was stopped itself has heard nobody meanwhile.
        self._silent = dict.fromkeys(links, 0)
        self._done: set[int] = set()
        self._over = threading.Event()  # all are done
        self._ending = threading.Lock()  # one sentence is said: whoever has the lock ends this

    def begin(self) -> None:
        """Watches from now on, and waits for the others before this process ends well."""
        threading.Thread(target=self._run, name="watch", daemon=True).start()
        before_failure.append(self.tell)
        atexit.register(self._wait_for_others)

    def tell(self, error: Exception) -> None:
        """Tells the others why this process ends.

        If it seems to end because of another one, this returns only if that one can't be named.
        """
        if isinstance(error, PeerError):
            time.sleep(_CLEAN_UP_SECONDS)
        elif error.__cause__ or not isinstance(error, (UserError, DivergenceError)):
            time.sleep(_VERDICT_SECONDS)
        for link in self._links.values():
            link.say("failed", " ".join(str(error).split()))
        time.sleep(_PAUSE)  # a connection that ends at once may lose the last word
        self._ending.acquire()

    def _run(self) -> None:
        while not self._over.wait(_PAUSE):
            for number, link in self._links.items():
                link.say("alive")
                self._listen_to(number, link)

    def _listen_to(self, number: int, link: Link) -> None:
        words = link.hear()
        if words is None:
            self._end(f"{_capital(link.name)} is gone: it was killed, or crashed. {_RESUME}")
        self._silent[number] = 0 if words else self._silent[number] + 1
        if self._silent[number] * _PAUSE > self._silent_seconds:
            self._end(
                f"{_capital(link.name)} has not answered for {self._silent_seconds:.0f} seconds: it"
                f" hangs, or can't be reached. {_RESUME}"
            )
        for word, text in words:
            if word == "done":
                self._done.add(number)
            elif word == "lost":
                self._end(text)
            elif word == "failed":
                time.sleep(_OWN_WORDS_SECONDS)
                self._end(f"{_capital(link.name)} has failed: {text}")

    def _end(self, sentence: str) -> NoReturn:
        """Tells the others who is lost, and ends this process."""
        for link in self._links.values():
            link.say("lost", sentence)
        self._ending.acquire()
        end_at_once(sentence, 2)

    def _wait_for_others(self) -> None:
        """Waits until all are done, so that none takes the end of another one for a failure."""
        if 0 in self._links:
            self._links[0].say("done")
        while len(self._done) < len(self._links):
            time.sleep(_PAUSE / 10)
        self._over.set()
        if 0 not in self._links:
            for link in self._links.values():
                link.say("done")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
