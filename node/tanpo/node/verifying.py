"""Signature checks: once per node, in chunks, on a thread where only OpenSSL runs.

`cryptography` releases the GIL while it verifies, but a thread coming back must wait for it; hence chunks
of up to `CHUNK_SIGNATURES` and a short path for the few signatures of an idle network.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected
from tanpo.ledger.transaction import Envelope
from tanpo.node.keyring import KeyRing
from tanpo.node.metrics import Metrics

CHUNK_SIGNATURES: Final = 64
INLINE_SIGNATURES: Final = 4
"""Up to here a thread costs more than it saves."""


class Verifier:
    """Checks the signatures of envelopes against the registered keys."""

    def __init__(self, keyring: KeyRing, metrics: Metrics, thread_count: int) -> None:
        self._keyring = keyring
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(thread_count, thread_name_prefix="verify")

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def verify(self, envelopes: Sequence[Envelope]) -> list[LedgerError | None]:
        """Return per envelope None, or why its signatures are refused. Keys were checked before."""
        signature_count = sum(len(envelope.signatures) for envelope in envelopes)
        if signature_count <= INLINE_SIGNATURES:
            return self._verify_chunk(envelopes)
        loop = asyncio.get_running_loop()
        chunks = _split(envelopes)
        jobs = [loop.run_in_executor(self._pool, self._verify_chunk, chunk) for chunk in chunks]
        return [verdict for verdicts in await asyncio.gather(*jobs) for verdict in verdicts]

    def _verify_chunk(self, envelopes: Sequence[Envelope]) -> list[LedgerError | None]:
        started = time.thread_time()
        verdicts = [self._verify_one(envelope) for envelope in envelopes]
        self._metrics.verify_seconds.inc(time.thread_time() - started)
        self._metrics.signatures_verified.inc(sum(len(envelope.signatures) for envelope in envelopes))
        return verdicts

    def _verify_one(self, envelope: Envelope) -> LedgerError | None:
        for key_id, signature in envelope.signatures:
            if not self._keyring.get_public_key(key_id).verify(signature, envelope.digest):
                return TransactionRejected(
                    Reason.SIGNATURE_INVALID,
                    "a signature does not fit the transactions and its key",
                    value=key_id.hex(),
                    remedy="sign the envelope digest of exactly these transactions on this network",
                )
        return None


def _split(envelopes: Sequence[Envelope]) -> list[list[Envelope]]:
    chunks: list[list[Envelope]] = [[]]
    held = 0
    for envelope in envelopes:
        if held + len(envelope.signatures) > CHUNK_SIGNATURES and chunks[-1]:
            chunks.append([])
            held = 0
        chunks[-1].append(envelope)
        held += len(envelope.signatures)
    return chunks
