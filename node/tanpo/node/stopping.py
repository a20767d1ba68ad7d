"""A request to end, by SIGTERM or Ctrl-C, for work that holds the event loop or needs none.

A signal sets a flag, and the work asks for it where it may end: an exception out of a handler could strike
between a write and what remembers it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """The process was asked to end in the middle of work that goes on at its next start."""


class StopRequest:
    """Whether this process was asked to end."""

    def __init__(self) -> None:
        self.is_asked = False

    def ask(self) -> None:
        """Ask it to end."""
        self.is_asked = True

    def check(self) -> None:
        """Raise `Stopped` if it was."""
        if self.is_asked:
            raise Stopped

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Let signals set the flag until this ends; in the main thread, which alone hears of signals."""
        numbers = SIGNALS if current_thread() is main_thread() else ()
        former = {number: signal.getsignal(number) for number in numbers}
        self.listen()
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        """Hear signals again that something else heard meanwhile, as within `caught`."""
        for number in SIGNALS if current_thread() is main_thread() else ():
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.ask()
