"""Randomness of one run: a stream of its own for each purpose.

Because streams do not share a state, switching one kind of fault off leaves all others as they were: that is
what makes a shrunk schedule resemble the one it came from.
"""

from __future__ import annotations

import random


class Streams:
    """The named streams of a seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._streams: dict[str, random.Random] = {}

    def get(self, name: str) -> random.Random:
        """Return the stream of a name; the same object every time."""
        stream = self._streams.get(name)
        if stream is None:
            # A string seeds through SHA-512 and not through `hash`, so every process draws alike.
            stream = self._streams[name] = random.Random(f"{self._seed}/{name}")  # noqa: S311 - not for secrets
        return stream
