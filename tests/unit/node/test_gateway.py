"""The way in: how much one client may have verified at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tanpo.ledger.errors import LedgerError, PeerFault, Reason, TransactionRejected
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.transaction import Envelope
from tanpo.ledger.types import BlockHash
from tanpo.node.admission import WINDOW_TRANSACTIONS_MIN, AdmissionWindow
from tanpo.node.clock import Clock
from tanpo.node.gateway import Gateway
from tanpo.node.keyring import KeyRing, key_unknown
from tanpo.node.keyrings import KeyRings
from tanpo.node.mempool import Mempool, MempoolLimits
from tanpo.node.metrics import Metrics
from tanpo.node.outcome import Outcome, OutcomeHub
from tanpo.node.reads import Reads
from tanpo.node.verifying import Verifier


class FakeMachine:
    """Knows every entry point."""

    def check_call(self, _call: object) -> None:
        """Find nothing wrong."""


class FakeStore:
    """Knows the requests that it is told of."""

    def __init__(self) -> None:
        self.places: dict[bytes, tuple[int, int]] = {}

    def find_request(self, digest: bytes) -> tuple[int, int] | None:
        return self.places.get(digest)


class FakeExecution:
    """A chain without transactions that have not expired."""

    machine = FakeMachine()
    since_time_ms = 0

    def __init__(self, time_ms: int) -> None:
        self.store = FakeStore()
        self.tip_time_ms = time_ms

    def is_taken(self, _digest: bytes) -> bool:
        return False


class CountingVerifier(Verifier):
    """Finds every signature good, once it is let; notes how many envelopes it was given."""

    def __init__(self) -> None:
        super().__init__(Metrics(), 1)
        self.asked: list[int] = []
        self.may_answer = asyncio.Event()

    async def verify(self, envelopes: Sequence[Envelope], keyring: KeyRing) -> list[LedgerError | None]:
        self.asked.append(len(envelopes))
        await self.may_answer.wait()
        return [None] * len(envelopes)


class Listener:
    """Waits in vain."""

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        raise AssertionError(f"nothing was committed: {outcomes}")


def _make(
    parties: Any, verifier: Verifier, store: FakeStore | None = None, rings: KeyRings | None = None
) -> tuple[Gateway, Mempool]:
    execution: Any = FakeExecution(parties.time_ms)
    execution.keyrings = rings or KeyRings(BlockHash(bytes(32)), parties.keyring)
    execution.store = store or execution.store
    pool = Mempool(MempoolLimits())
    gateway = Gateway(
        network_id=parties.network_id,
        parameters=Parameters(),
        execution=execution,
        mempool=pool,
        verifier=verifier,
        reads=Reads(execution=execution, mempool=pool, network_id=parties.network_id),
        outcomes=OutcomeHub(),
        admission=AdmissionWindow(),
        metrics=Metrics(),
        clock=Clock(wall_ms=lambda: parties.time_ms, monotonic_ms=lambda: 0),
        on_admitted=lambda _: None,
    )
    return gateway, pool


@pytest.fixture(scope="module")
def envelopes(parties: Any) -> list[bytes]:
    """Return a few more envelopes than the window takes, each of ten transactions."""
    return [
        parties.envelope(*(parties.transaction(f"r{number}.{index}") for index in range(10))).encoded
        for number in range(WINDOW_TRANSACTIONS_MIN // 10 + 5)
    ]


async def test_one_call_has_no_more_verified_than_the_window_takes(
    parties: Any, envelopes: list[bytes]
) -> None:
    verifier = CountingVerifier()
    verifier.may_answer.set()
    gateway, pool = _make(parties, verifier)
    verdicts = await gateway.submit(envelopes, Listener())
    assert verifier.asked == [WINDOW_TRANSACTIONS_MIN // 10]
    assert [verdict.reason for verdict in verdicts if verdict is not None] == [Reason.MEMPOOL_FULL] * 5
    assert len(pool) == WINDOW_TRANSACTIONS_MIN


async def test_what_other_calls_have_verified_counts_until_they_end(
    parties: Any, envelopes: list[bytes]
) -> None:
    verifier = CountingVerifier()
    gateway, pool = _make(parties, verifier)
    given_up = asyncio.create_task(gateway.submit(envelopes[:60], Listener()))
    while not verifier.asked:  # noqa: ASYNC110  # what is waited for has no event of its own
        await asyncio.sleep(0)
    waiting = asyncio.create_task(gateway.submit(envelopes[60:], Listener()))
    while len(verifier.asked) < 2:  # noqa: ASYNC110  # as above
        await asyncio.sleep(0)
    assert verifier.asked == [60, 40]
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    verifier.may_answer.set()
    await waiting
    verdicts = await gateway.submit(envelopes[:60], Listener())
    assert verdicts == [None] * 60
    assert len(pool) == WINDOW_TRANSACTIONS_MIN


async def test_a_request_that_is_built_anew_after_it_expired_does_not_take_effect_twice(
    parties: Any,
) -> None:
    """The validators' memory has forgotten the id; the index of this node has not."""
    verifier, store = CountingVerifier(), FakeStore()
    verifier.may_answer.set()
    gateway, pool = _make(parties, verifier, store)
    used, fresh = parties.transaction("used"), parties.transaction("fresh")
    store.places[used.request_digest] = (3, 0)
    verdicts = await gateway.submit(
        [parties.envelope(used).encoded, parties.envelope(fresh).encoded], Listener()
    )
    assert [verdict and verdict.reason for verdict in verdicts] == [Reason.REQUEST_ID_REUSED, None]
    await gateway.take_shared([parties.envelope(used).encoded])
    assert len(pool) == 2, "a leader must not pass over what others have good reason to admit"


@pytest.mark.parametrize("is_own", [True, False])
async def test_a_key_that_is_removed_while_its_signatures_are_checked_signs_nothing(
    parties: Any, *, is_own: bool
) -> None:
    verifier, rings = CountingVerifier(), KeyRings(BlockHash(bytes(32)), parties.keyring)
    gateway, pool = _make(parties, verifier, rings=rings)
    encoded = [parties.envelope(parties.transaction("r1")).encoded]
    taking = asyncio.create_task(
        gateway.submit(encoded, Listener()) if is_own else gateway.take_shared(encoded)
    )
    while not verifier.asked:  # noqa: ASYNC110  # what is waited for has no event of its own
        await asyncio.sleep(0)
    rings.latest = KeyRing(())
    verifier.may_answer.set()
    verdicts = await taking
    assert len(pool) == 0
    told = [verdict.reason for verdict in verdicts or () if verdict is not None]
    assert told == [Reason.KEY_UNKNOWN] * is_own


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_peer_is_to_blame_for_a_wrong_signature_and_not_for_a_key_that_was_removed(
    parties: Any, *, is_known: bool
) -> None:
    class Refusing(CountingVerifier):
        async def verify(self, envelopes: Sequence[Envelope], keyring: KeyRing) -> list[LedgerError | None]:
            ((key_id, _),) = envelopes[0].signatures
            wrong = TransactionRejected(Reason.SIGNATURE_INVALID, "a signature is wrong")
            return [wrong if is_known else key_unknown(key_id)]

    gateway, pool = _make(parties, Refusing())
    encoded = [parties.envelope(parties.transaction("r1")).encoded]
    if is_known:
        with pytest.raises(PeerFault, match="a signature is wrong"):
            await gateway.take_shared(encoded)
    else:
        await gateway.take_shared(encoded)
    assert len(pool) == 0
