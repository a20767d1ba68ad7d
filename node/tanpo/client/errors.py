"""What a client can meet beyond the errors every part of the ledger shares."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tanpo.ledger.errors import LedgerError, Reason, Unavailable, UsageError
from tanpo.ledger.receipt import Receipt
from tanpo.ledger.transaction import Envelope, Transaction
from tanpo.ledger.types import MemberId, TxId
from tanpo.ledger.values import Value, value_to_json


class ContractFailed(LedgerError):
    """A transaction was committed and its contract failed: final, without effects, the same on every node."""

    def __init__(self, receipt: Receipt) -> None:
        details = ", ".join(f"{name}={value_to_json(value)}" for name, value in receipt.details)
        place = f" at {receipt.contract}:{receipt.line}" if receipt.contract else ""
        super().__init__(
            Reason.CONTRACT_FAILED,
            f"the contract failed with {receipt.code}{place}{f': {details}' if details else ''}",
            value=details,
            limit=receipt.code,
            remedy="correct what the code names and submit it as a new request",
        )
        self.receipt = receipt

    @property
    def code(self) -> str:
        """The stable code of the contract or of the machine."""
        return self.receipt.code

    @property
    def details(self) -> Mapping[str, Value]:
        """The values the contract gave with its code."""
        return MappingProxyType(dict(self.receipt.details))

    @property
    def contract(self) -> str:
        """The contract that failed: the one called, or one it called in turn."""
        return self.receipt.contract

    @property
    def line(self) -> int:
        """The line of its source."""
        return self.receipt.line

    @property
    def tx_id(self) -> TxId:
        """The failed transaction."""
        return self.receipt.tx_id


class OutcomeUnknown(Unavailable):
    """No node told in time what became of an envelope: it may be committed, now or until `valid_until_ms`.

    Nothing is lost: submit `envelope` again (the same bytes, so it can take effect only once), or ask for the
    outcome of `request_id`. `__cause__` is the last failure.
    """

    def __init__(self, envelope: Envelope, why: str) -> None:
        first = envelope.transactions[0]
        many = f" and {len(envelope.transactions) - 1} more" if len(envelope.transactions) > 1 else ""
        super().__init__(
            Reason.DEADLINE,
            f"the outcome of request {first.request_id}{many} is not known: {why}",
            value=first.tx_id.hex(),
            limit=f"valid until {first.valid_until_ms}",
            remedy="ask for the outcome by request id, or submit the same envelope again",
        )
        self.envelope = envelope

    @property
    def transaction(self) -> Transaction:
        """The first transaction of the envelope, ordinarily the only one."""
        return self.envelope.transactions[0]

    @property
    def tx_id(self) -> TxId:
        """The id of that transaction."""
        return self.transaction.tx_id

    @property
    def member(self) -> MemberId:
        """The member that submitted it."""
        return self.transaction.member

    @property
    def request_id(self) -> str:
        """The request id to ask for."""
        return self.transaction.request_id

    @property
    def valid_until_ms(self) -> int:
        """The last block time (Unix ms) at which any of the envelope's transactions may still execute."""
        return max(transaction.valid_until_ms for transaction in self.envelope.transactions)


class Unreachable(Unavailable):
    """No connection to the node could be made, so nothing was sent."""


class NodeFailed(Unavailable):
    """The node failed in a way that asking it again will not cure; another node may answer."""

    retriable = False


class HandshakeFailed(UsageError):
    """The TLS handshake failed: a certificate is wrong, foreign or expired. Nothing was sent."""
