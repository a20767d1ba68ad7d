"""The transactions a simulated node knows of and has not committed."""

from __future__ import annotations

from collections.abc import Iterable, Set


class Pool:
    """Pending transactions in the order they came."""

    def __init__(self) -> None:
        self._arrived_ms: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._arrived_ms)

    @property
    def oldest_ms(self) -> int | None:
        """When the transaction that waits longest came, None if none waits."""
        return next(iter(self._arrived_ms.values()), None)

    def add(self, envelope: bytes, now_ms: int) -> bool:
        """Take a transaction; return whether it is new."""
        if envelope in self._arrived_ms:
            return False
        self._arrived_ms[envelope] = now_ms
        return True

    def remove(self, envelopes: Iterable[bytes]) -> None:
        """Forget what is committed."""
        for envelope in envelopes:
            self._arrived_ms.pop(envelope, None)

    def select(self, taken: Set[bytes], count_max: int) -> list[bytes]:
        """Return the oldest transactions that are not taken."""
        chosen: list[bytes] = []
        for envelope in self._arrived_ms:
            if len(chosen) == count_max:
                break
            if envelope not in taken:
                chosen.append(envelope)
        return chosen
