"""The body of a block, decoded once, and the rules it must keep to be voted for.

Whether a contract succeeds is not among them: a failed transaction is in the block with a failed receipt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from tanpo.ledger.block import Block, compute_tx_root
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.evidence import Evidence, decode_evidence
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.transaction import Envelope, Transaction, decode_envelope
from tanpo.ledger.types import NetworkId
from tanpo.node.mempool import BlockUse, fits_time


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedBlock:
    """A block with its envelopes decoded; `digests` are those of its requests.

    `unchecked` are the envelopes this node has not verified the signatures of.
    """

    block: Block
    envelopes: tuple[Envelope, ...]
    transactions: tuple[Transaction, ...]
    digests: frozenset[bytes]
    unchecked: tuple[Envelope, ...]
    evidence: tuple[Evidence, ...] = ()


def decode_body(
    block: Block, network_id: NetworkId, find_checked: Callable[[bytes], Envelope | None]
) -> DecodedBlock:
    """Return the block with its envelopes decoded, taking those that `find_checked` has as they are.

    Raises:
        PeerFault: an envelope or evidence is not canonical, or the header commits to other transactions.
        TransactionRejected: an envelope breaks a limit of its own.
    """
    envelopes: list[Envelope] = []
    unchecked: list[Envelope] = []
    for encoded in block.envelopes:
        known = find_checked(sha256(encoded).digest())
        envelope = known or decode_envelope(network_id, encoded)
        envelopes.append(envelope)
        if known is None:
            unchecked.append(envelope)
    transactions = tuple(tx for envelope in envelopes for tx in envelope.transactions)
    header = block.header
    if header.tx_count != len(transactions):
        raise _invalid("transaction count differs from the header's", len(transactions), header.tx_count)
    if header.tx_root != compute_tx_root([tx.tx_id for tx in transactions]):
        raise _invalid("transactions are not those of the header's root", "", "")
    return DecodedBlock(
        block=block,
        envelopes=tuple(envelopes),
        transactions=transactions,
        digests=frozenset(tx.request_digest for tx in transactions),
        unchecked=tuple(unchecked),
        evidence=tuple(decode_evidence(encoded) for encoded in block.evidence),
    )


def verify_body(decoded: DecodedBlock, parameters: Parameters, is_taken: Callable[[bytes], bool]) -> None:
    """Raise `PeerFault` unless the body keeps the network's limits and repeats no request.

    `is_taken` tells of a request that the committed chain or an uncommitted ancestor holds. Signatures are
    checked apart from this.
    """
    use = BlockUse()
    for envelope in decoded.envelopes:
        use = use.plus(envelope)
        if not fits_time(envelope, decoded.block.header.time_ms, parameters.validity_max_ms):
            raise _invalid(
                "a transaction is expired, or valid for too long, at the block's time",
                [tx.valid_until_ms for tx in envelope.transactions][:4],
                f"{decoded.block.header.time_ms} and {parameters.validity_max_ms} ms beyond",
            )
    if not use.fits(parameters):
        raise _invalid("block exceeds the network's limits", use, parameters)
    if len(decoded.digests) != len(decoded.transactions):
        raise _invalid("a request stands twice in the block", "", "once")
    for transaction in decoded.transactions:
        if transaction.gas_limit > parameters.gas_limit_max:
            raise _invalid("gas limit", transaction.gas_limit, parameters.gas_limit_max)
        if is_taken(transaction.request_digest):
            raise _invalid("a request was executed before", transaction.request_id, "once")


def _invalid(what: str, value: object, limit: object) -> PeerFault:
    return PeerFault(Reason.PROTOCOL, f"invalid block: {what}", value=value, limit=limit)
