"""The links that every kind of proof file has: from trusted validators to a header that is final.

A file proves nothing as soon as one of its links does not hold; which one it is, is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tanpo.ledger.block import Header
from tanpo.ledger.errors import LedgerError, PeerFault, Reason
from tanpo.ledger.genesis import Genesis, RegisteredKey, collect_keys
from tanpo.ledger.lineage import EpochPin, Lineage, decode_header, decode_headers
from tanpo.ledger.prooffile import Trail
from tanpo.ledger.types import KeyId, NetworkId
from tanpo.ledger.validators import Validator, compute_valset_hash


class LinkBroken(PeerFault):
    """A proof file proves nothing; `link` names the link of its chain that does not hold."""

    def __init__(self, link: str, why: str, *, value: object = "", limit: object = "") -> None:
        super().__init__(
            Reason.PROOF_INVALID,
            f"the link {link!r} does not hold: {why}",
            value=value,
            limit=limit,
            remedy="do not rely on this file; have it exported anew",
        )
        self.link = link


@dataclass(frozen=True, slots=True, kw_only=True)
class Certification:
    """Who made it final: the header that carries the root, and who voted for the header that settles it."""

    header: Header
    final_header: Header
    voters: tuple[Validator, ...]
    validator_count: int
    trusted: EpochPin


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What a checker believes before it reads a file."""

    genesis: Genesis
    network_id: NetworkId
    keys: Mapping[KeyId, RegisteredKey]
    pin: EpochPin | None

    @classmethod
    def of(cls, genesis: Genesis, pin: EpochPin | None) -> Trusted:
        """Return what somebody believes who trusts the genesis, and pinned validators if there is a pin."""
        return cls(genesis=genesis, network_id=genesis.network_id, keys=collect_keys(genesis), pin=pin)

    def verify_network(self, network: str, network_id: bytes) -> None:
        """Raise `LinkBroken` unless a file is of the network that is trusted."""
        with link("network"):
            if (network, network_id) != (self.genesis.network, self.network_id):
                raise differs("it is of another network", network_id.hex(), self.network_id.hex())


def verify_trail(trusted: Trusted, trail: Trail) -> Certification:
    """Return who made the header of a trail final."""
    lineage, pin = follow(trusted, trail), trusted.pin
    with link("headers"):
        headers = decode_headers((trail.header, *trail.descendants))
        lineage.verify_chain(headers)
        if max(header.epoch for header in headers) != lineage.newest:
            raise differs("the lineage leads to another epoch", headers[-1].epoch, lineage.newest)
        if pin is not None and headers[0].epoch < pin.epoch:
            raise differs("it is older than the pinned epoch", headers[0].epoch, pin.epoch)
        if headers[0].height < 1:
            raise differs("no block has this height", headers[0].height)
    with link("commit proof"):
        proof = lineage.verify_final(headers, trail.commit_proof)
    validators = lineage.get(headers[-1].epoch).validators
    return Certification(
        header=headers[0],
        final_header=headers[-1],
        voters=tuple(validators[index] for index, _ in proof.certificate.signatures),
        validator_count=len(validators),
        trusted=pin or lineage.pin,
    )


def follow(trusted: Trusted, trail: Trail) -> Lineage:
    """Return the lineage of a trail: it begins with who is trusted, and passes the pin if there is one."""
    pin = trusted.pin
    with link("validators"):
        start = EpochPin(epoch=trail.epoch, valset_hash=compute_valset_hash(trail.validators))
        wanted = EpochPin.of_genesis(trusted.genesis) if not trail.epoch else pin
        if start != wanted:
            raise differs(
                "the file begins with validators that are not trusted",
                start,
                wanted or "the genesis, or the pin of that epoch",
            )
        lineage = Lineage(trusted.network_id, start, trail.validators)
    for number, step in enumerate(trail.steps):
        epoch = trail.epoch + number
        with link(f"lineage from epoch {epoch} to {epoch + 1}"):
            if decode_header(step.header).epoch != epoch:
                raise differs("its header is of another epoch", decode_header(step.header).epoch, epoch)
            lineage.extend(step)
    if pin is not None:
        with link("pin"):
            found = lineage.get(pin.epoch).valset_hash
            if found != pin.valset_hash:
                raise differs("the lineage has other validators", found.hex(), pin.valset_hash.hex())
    return lineage


@contextmanager
def link(name: str) -> Iterator[None]:
    """Have what is refused in the block break the link of this name."""
    try:
        yield
    except LinkBroken:
        raise
    except LedgerError as error:
        raise LinkBroken(name, error.message, value=error.value, limit=error.limit) from None


def differs(why: str, value: object = "", limit: object = "") -> PeerFault:
    """Return why a link does not hold."""
    return PeerFault(Reason.PROOF_INVALID, why, value=value, limit=limit)
