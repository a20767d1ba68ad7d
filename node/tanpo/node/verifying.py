"""Signature checks: once per node, in chunks, on threads where only OpenSSL runs, or on the loop.

`cryptography` releases the GIL while it verifies, but a thread coming back waits up to 5 ms for a GIL that
contracts hold, after every single signature. So threads pay where there is a core for them; nodes that
share their cores with others verify on the loop, in slices that let votes pass.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected
from tanpo.ledger.transaction import Envelope
from tanpo.node.keyring import KeyRing, key_unknown
from tanpo.node.metrics import Metrics

CHUNK_SIGNATURES: Final = 64
SLICE_SIGNATURES: Final = 16
"""Verified on the loop in one go: about a millisecond."""

INLINE_SIGNATURES: Final = 4
"""Up to here a thread costs more than it saves."""


class Verifier:
    """Checks the signatures of envelopes against registered keys, on the loop if there are no threads."""

    def __init__(self, metrics: Metrics, thread_count: int) -> None:
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(thread_count, thread_name_prefix="verify") if thread_count else None

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    async def verify(self, envelopes: Sequence[Envelope], keyring: KeyRing) -> list[LedgerError | None]:
        """Return per envelope None, or why its signatures are refused."""
        signature_count = sum(len(envelope.signatures) for envelope in envelopes)
        if signature_count <= INLINE_SIGNATURES:
            return self._verify_chunk(envelopes, keyring)
        if self._pool is None:
            return await self._verify_in_slices(envelopes, keyring)
        loop = asyncio.get_running_loop()
        chunks = _split(envelopes, CHUNK_SIGNATURES)
        jobs = [loop.run_in_executor(self._pool, self._verify_chunk, chunk, keyring) for chunk in chunks]
        return [verdict for verdicts in await asyncio.gather(*jobs) for verdict in verdicts]

    async def _verify_in_slices(
        self, envelopes: Sequence[Envelope], keyring: KeyRing
    ) -> list[LedgerError | None]:
        verdicts: list[LedgerError | None] = []
        for chunk in _split(envelopes, SLICE_SIGNATURES):
            verdicts += self._verify_chunk(chunk, keyring)
            await asyncio.sleep(0)
        return verdicts

    def _verify_chunk(self, envelopes: Sequence[Envelope], keyring: KeyRing) -> list[LedgerError | None]:
        started = time.thread_time()
        verdicts = [_verify_one(envelope, keyring) for envelope in envelopes]
        self._metrics.verify_seconds.inc(time.thread_time() - started)
        self._metrics.signatures_verified.inc(sum(len(envelope.signatures) for envelope in envelopes))
        return verdicts


def _verify_one(envelope: Envelope, keyring: KeyRing) -> LedgerError | None:
    for key_id, signature in envelope.signatures:
        key = keyring.find_public_key(key_id)
        if key is None:
            return key_unknown(key_id)
        if not key.verify(signature, envelope.digest):
            return TransactionRejected(
                Reason.SIGNATURE_INVALID,
                "a signature does not fit the transactions and its key",
                value=key_id.hex(),
                remedy="sign the envelope digest of exactly these transactions on this network",
            )
    return None


def _split(envelopes: Sequence[Envelope], signatures_max: int) -> list[list[Envelope]]:
    chunks: list[list[Envelope]] = [[]]
    held = 0
    for envelope in envelopes:
        if held + len(envelope.signatures) > signatures_max and chunks[-1]:
            chunks.append([])
            held = 0
        chunks[-1].append(envelope)
        held += len(envelope.signatures)
    return chunks
