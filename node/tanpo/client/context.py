"""What both clients do without a connection: compose transactions, and explain failures of the connection."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import grpc
from tanpo.client.config import ClientConfig, check_deadline, check_validity
from tanpo.client.draft import Draft, build_draft
from tanpo.client.errors import HandshakeFailed, Unreachable
from tanpo.client.plan import Route
from tanpo.client.rpc_errors import error_from_rpc
from tanpo.client.trust import Trust
from tanpo.ledger.errors import LedgerError, Reason, Unavailable, UsageError
from tanpo.ledger.statelayout import StateLayout
from tanpo.ledger.transaction import Call, Envelope, Signer, decode_envelope
from tanpo.ledger.types import KeyId
from tanpo.ledger.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What all calls of one client share. `layouts` are of the contracts that were proved to this client."""

    config: ClientConfig
    route: Route
    trust: Trust
    layouts: dict[str, StateLayout]

    @classmethod
    def create(cls, config: ClientConfig) -> Context:
        """Return the context of a new client. Raises `UsageError` when its certificate is not valid now."""
        config.identity.verify_validity()
        return cls(
            config=config,
            route=Route(len(config.addresses), config.retry),
            trust=Trust(config.genesis, config.pin),
            layouts={},
        )

    def compute_deadline(self, deadline_s: float | None) -> float:
        """Return the deadline of one call, the client's own unless another is given."""
        return self.config.deadline_s if deadline_s is None else check_deadline(deadline_s)

    def build(
        self,
        calls: Call | Sequence[Call],
        *,
        signers: Iterable[KeyId] | None,
        request_id: str | None,
        valid_for_s: float,
        gas_limit: int | None,
    ) -> Draft:
        """Return a draft in the name of this client's member."""
        config = self.config
        named = tuple(signer.key_id for signer in config.signers) if signers is None else tuple(signers)
        if not named:
            raise UsageError(
                Reason.SIGNATURE_MISSING,
                "no key is to sign the transaction",
                limit="one signer or more",
                remedy="give the client signers, or name them in this call",
            )
        return build_draft(
            calls,
            network_id=config.network_id,
            member=config.member,
            signers=named,
            valid_until_ms=int((time.time() + check_validity(valid_for_s)) * 1000),
            gas_limit=config.gas_limit if gas_limit is None else gas_limit,
            request_id=request_id,
        )

    def compose(
        self,
        call: Call,
        *,
        signers: Iterable[Signer] | None,
        request_id: str | None,
        valid_for_s: float,
        gas_limit: int | None,
    ) -> Envelope:
        """Return a call built, signed with every key at hand, and sealed."""
        parties = self.config.signers if signers is None else tuple(signers)
        draft = self.build(
            call,
            signers=[signer.key_id for signer in parties],
            request_id=request_id,
            valid_for_s=valid_for_s,
            gas_limit=gas_limit,
        )
        return draft.seal((draft.sign(signer) for signer in parties), self.config.keys)

    def read_envelope(self, envelope: Envelope | bytes) -> Envelope:
        """Return an envelope given as such or encoded. Raises `LedgerError` for bytes that are none."""
        if isinstance(envelope, Envelope):
            return envelope
        return decode_envelope(self.config.network_id, envelope)

    def explain(self, failure: grpc.RpcError, node: int) -> LedgerError:
        """Return the error for a failed call, naming our certificate when that may be the cause."""
        error = error_from_rpc(failure, self.config.addresses[node])
        if error.reason not in (Reason.UNREACHABLE, Reason.CONFIGURATION):
            return error
        identity = self.config.identity
        try:
            identity.verify_validity()
        except UsageError as expired:
            return expired
        # Under TLS 1.3 a node that refuses a certificate just closes the connection.
        if not isinstance(error, HandshakeFailed | Unreachable) or "refused" in error.message.lower():
            return error
        return error.retell(
            f"{error.message}; our certificate is {identity.source}, valid until "
            f"{identity.valid_until.isoformat()}"
        )


def make_call(call: Call | str, entry: str, arguments: Mapping[str, Value] | None) -> Call:
    """Return a call given as such or as contract, entry point and arguments."""
    if isinstance(call, str):
        return Call.create(call, entry, arguments or {})
    if entry or arguments is not None:
        raise UsageError(
            Reason.MISUSE,
            "a call holds its entry point and arguments already",
            value=entry,
            remedy="give either",
        )
    return call


def closed_during_call() -> Unavailable:
    """Return the error for a call that closing the client cut off: the node may have taken it in."""
    return Unavailable(Reason.UNREACHABLE, "the client was closed during the call")


def closed_client() -> UsageError:
    """Return the error for a call on a client that was closed."""
    return UsageError(Reason.MISUSE, "the client is closed", remedy="make another client")
