"""A context without connections, a clock that tests turn, and envelopes to submit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from tanpo.api.v1 import ledger_pb2
from tanpo.client import ClientConfig, Identity, RetryPolicy
from tanpo.client.context import Context
from tanpo.client.plan import Attempt, Pause, Plan, Route
from tanpo.client.trust import Trust
from tanpo.ledger.errors import LedgerError
from tanpo.ledger.genesis import Genesis, Member, Parameters
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.receipt import Receipt, encode_receipt
from tanpo.ledger.transaction import Call, Envelope, Transaction, build_transaction, sign_envelope
from tanpo.ledger.types import Height, MemberId
from tanpo.ledger.validators import Validator

KEY = PrivateKey.generate()
OTHER_KEY = PrivateKey.generate()
TLS_KEY = PrivateKey.generate()


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_certificate(key: PrivateKey, *, uri: str = "", starts: datetime, ends: datetime) -> bytes:
    private = key.to_cryptography()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "desk")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(7)
        .not_valid_before(starts)
        .not_valid_after(ends)
    )
    if uri:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def make_identity() -> Callable[..., Identity]:
    """Makes identities; times count in days from now."""

    def make(*, uri: str = "tanpo:alpha:client:desk", starts: int = -1, ends: int = 1) -> Identity:
        now = datetime.now(UTC)
        certificate = make_certificate(
            TLS_KEY, uri=uri, starts=now + timedelta(days=starts), ends=now + timedelta(days=ends)
        )
        return Identity(
            certificate=certificate,
            private_key=TLS_KEY.to_pem(),
            authorities=certificate,
            source="desk.pem",
        )

    return make


@pytest.fixture(scope="session")
def key() -> PrivateKey:
    return KEY


@pytest.fixture(scope="session")
def other_key() -> PrivateKey:
    return OTHER_KEY


@pytest.fixture(scope="session")
def genesis() -> Genesis:
    return Genesis(
        network="testnet",
        time_ms=1,
        parameters=Parameters(),
        members=(
            Member(
                member=MemberId("alpha"),
                name="Alpha",
                lei="",
                roles=(),
                ca_certificate=b"",
                keys=(KEY.public_key.encoded, OTHER_KEY.public_key.encoded),
            ),
        ),
        validators=(Validator(member=MemberId("alpha"), node="n1", public_key=TLS_KEY.public_key.encoded),),
        contracts=(),
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_context(
    genesis: Genesis, clock: Clock, make_identity: Callable[..., Identity]
) -> Callable[..., Context]:
    """Makes contexts of so many nodes, whose retries wait 1, 2, 4, ... 8 seconds."""

    def make(nodes: int = 1, **changes: Any) -> Context:
        policy = RetryPolicy(delay_first_s=1.0, delay_max_s=8.0, attempt_min_s=2.0, random=lambda: 0.0)
        config = ClientConfig.create(
            [f"127.0.0.1:{7001 + number}" for number in range(nodes)],
            identity=make_identity(),
            genesis=genesis,
            signers=[KEY],
            retry=policy,
            **changes,
        )
        trust = Trust(config.genesis, config.pin)
        return Context(config=config, route=Route(nodes, policy, clock), trust=trust, layouts={})

    return make


@pytest.fixture
def make_envelope(genesis: Genesis) -> Callable[..., Envelope]:
    """Makes signed envelopes."""

    def make(request_id: str = "r1", *, count: int = 1) -> Envelope:
        transactions = [
            build_transaction(
                network_id=genesis.network_id,
                member=MemberId("alpha"),
                request_id=request_id if count == 1 else f"{request_id}.{number}",
                valid_until_ms=5000,
                gas_limit=1,
                signers=[KEY.key_id],
                call=Call.create("notes", "write", {}),
            )
            for number in range(count)
        ]
        return sign_envelope(genesis.network_id, transactions, [KEY])

    return make


@pytest.fixture
def answer_committed() -> Callable[..., ledger_pb2.Outcome]:
    """Makes the outcome of a transaction that was committed."""

    def make(transaction: Transaction, *, height: int = 1, index: int = 0) -> ledger_pb2.Outcome:
        receipt = Receipt(
            tx_id=transaction.tx_id,
            height=Height(height),
            index=index,
            succeeded=True,
            code="",
            details=(),
            contract="",
            line=0,
            gas_used=1,
            value=(),
            events=(),
        )
        return ledger_pb2.Outcome(
            state=ledger_pb2.Outcome.COMMITTED,
            tx_id=transaction.tx_id,
            member=transaction.member,
            request_id=transaction.request_id,
            height=height,
            index=index,
            receipt=encode_receipt(receipt),
        )

    return make


class Script:
    """Drives plans: of a test's answers a message is returned, an error thrown. Pauses turn the clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.attempts: list[Attempt] = []
        self.pauses: list[float] = []

    def run(self, plan: Plan[Any], *answers: Any) -> Any:
        """Return the plan's result. A number among the answers is how long the next one takes."""
        remaining = list(answers)
        try:
            step = next(plan)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    self.clock.now += step.seconds
                    step = plan.send(None)
                    continue
                self.attempts.append(step)
                answer = remaining.pop(0)
                if isinstance(answer, float):
                    self.clock.now += answer
                    answer = remaining.pop(0)
                step = plan.throw(answer) if isinstance(answer, LedgerError) else plan.send(answer)
        except StopIteration as done:
            return done.value


@pytest.fixture
def script(clock: Clock) -> Script:
    return Script(clock)
