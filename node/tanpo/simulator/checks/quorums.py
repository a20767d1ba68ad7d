"""Whether what counts as a certificate is one: of distinct signers whose signatures verify, so many that any
two such groups share f + 1 (S1).

The protocol's own count and its own verification are not used here, so that a fault in them shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tanpo.consensus import Message
from tanpo.consensus.messages import Append, Heartbeat, Nudge, TermCertificate, Timeout
from tanpo.ledger.certificate import (
    QuorumCertificate,
    SignatureChecker,
    TimeoutCertificate,
    timeout_bytes,
    vote_bytes,
)
from tanpo.ledger.types import NetworkId
from tanpo.ledger.vote import list_votes
from tanpo.simulator.violation import Violation

Certificate = QuorumCertificate | TimeoutCertificate

KEPT = 256
"""Certificates remembered as verified: each is in many messages."""


class Quorums:
    """Looks at every certificate in what honest processes say."""

    def __init__(self, network_id: NetworkId) -> None:
        self._network_id = network_id
        self._verified: dict[Certificate, None] = {}

    def check(self, name: str, message: Message, keys: SignatureChecker) -> None:
        """Check every certificate in a message of an honest process.

        Raises:
            Violation: one of them has too few distinct signers, or a signature that does not verify.
        """
        for certificate in _list_certificates(message):
            if certificate in self._verified:
                continue
            self._check_count(name, certificate, keys.validator_count)
            if not self._is_signed(certificate, keys):
                raise Violation("quorum", "holds a certificate with a forged signature", name)
            self._verified[certificate] = None
            if len(self._verified) > KEPT:
                del self._verified[next(iter(self._verified))]

    def _check_count(self, name: str, certificate: Certificate, count: int) -> None:
        signers = _list_signers(certificate)
        if len(set(signers)) != len(signers) or 2 * len(signers) - count <= (count - 1) // 3:
            what = f"holds a certificate of {list(signers)}, no quorum of {count} validators"
            raise Violation("quorum", what, name)

    def _is_signed(self, certificate: Certificate, keys: SignatureChecker) -> bool:
        network_id, epoch = self._network_id, certificate.epoch
        if isinstance(certificate, QuorumCertificate):
            message = vote_bytes(
                certificate.kind,
                network_id,
                epoch,
                certificate.term,
                certificate.height,
                certificate.block_hash,
            )
            return all(keys.verify(v.validator, message, v.signature) for v in list_votes(certificate))
        return all(
            keys.verify(
                one.validator,
                timeout_bytes(
                    network_id, epoch, certificate.term, one.high_term, one.high_height, one.high_hash
                ),
                one.signature,
            )
            for one in certificate.entries
        )


def _list_certificates(message: Message) -> Iterator[Certificate]:
    """Return the certificates in a message; base certificates need no signers."""
    certificates: tuple[QuorumCertificate | None, ...] = ()
    opening: TimeoutCertificate | None = None
    match message:
        case Append(justify=high, term_certificate=opening) | Timeout(high_qc=high, term_certificate=opening):
            certificates = (high,)
        case Heartbeat(high_qc=high, commit_proof=proof, term_certificate=opening):
            certificates = (high, None if proof is None else proof.certificate)
        case Nudge(certificate=high):
            certificates = (high,)
        case TermCertificate(certificate=opening):
            certificates = (opening.high_qc,)
        case _:
            return
    for certificate in certificates:
        if certificate is not None and certificate.term > 0:
            yield certificate
    if opening is not None:
        yield opening


def _list_signers(certificate: Certificate) -> Sequence[int]:
    if isinstance(certificate, QuorumCertificate):
        return [index for index, _ in certificate.signatures]
    return [entry.validator for entry in certificate.entries]
