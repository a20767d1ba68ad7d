"""Whether what counts as a certificate is one: of distinct signers whose signatures verify, so many that any
two such groups share f + 1 (S1), and with the lock that its signers name if it opens a term (T1).

The protocol's own count and its own verification are not used here, so that a fault in them shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tanpo.consensus import Message
from tanpo.consensus.messages import (
    Append,
    Committed,
    Heartbeat,
    Nudge,
    Status,
    TermCertificate,
    Timeout,
)
from tanpo.ledger.certificate import (
    QuorumCertificate,
    SignatureChecker,
    TimeoutCertificate,
    timeout_bytes,
    vote_bytes,
)
from tanpo.ledger.types import Epoch, NetworkId
from tanpo.ledger.vote import list_votes
from tanpo.simulator.violation import Violation

Certificate = QuorumCertificate | TimeoutCertificate

KEPT = 256
"""Certificates remembered as verified: each is in many messages."""


class Quorums:
    """Looks at every certificate in what honest processes say. `find_keys` returns those of an epoch."""

    def __init__(self, network_id: NetworkId, find_keys: Callable[[Epoch], SignatureChecker]) -> None:
        self._network_id = network_id
        self._find_keys = find_keys
        self._verified: dict[Certificate, None] = {}

    def check(self, name: str, message: Message) -> None:
        """Check every certificate in a message of an honest process.

        Raises:
            Violation: one of them has too few distinct signers, a signature that does not verify, or another
                lock than its signers name.
        """
        for certificate in _list_certificates(message):
            if certificate in self._verified:
                continue
            keys = self._find_keys(certificate.epoch)
            self._check_count(name, certificate, keys.validator_count)
            if not self._is_signed(certificate, keys):
                raise Violation("quorum", "holds a certificate with a forged signature", name)
            if isinstance(certificate, TimeoutCertificate) and not _names_its_lock(certificate):
                raise Violation("quorum", "holds a term certificate with another lock than it lists", name)
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
    certificate: QuorumCertificate | None = None
    opening: TimeoutCertificate | None = None
    match message:
        case (
            Append(justify=certificate, term_certificate=opening)
            | Timeout(high_qc=certificate, term_certificate=opening)
            | Status(high_qc=certificate, term_certificate=opening)
        ):
            pass
        case Heartbeat(high_qc=certificate, commit_proof=proof, term_certificate=opening):
            if proof is not None:
                yield proof.certificate
        case Nudge(certificate=certificate):
            pass
        case Committed(proof=proof):
            certificate = proof.certificate
        case TermCertificate(certificate=opening):
            pass
        case _:
            return
    if certificate is not None and certificate.term > 0:
        yield certificate
    if opening is not None:
        yield opening
        if opening.high_qc.term > 0:
            yield opening.high_qc


def _names_its_lock(certificate: TimeoutCertificate) -> bool:
    """Whether the lock that a term certificate carries is the highest that its signers name."""
    return certificate.high_qc.rank == max((one.high_term, one.high_height) for one in certificate.entries)


def _list_signers(certificate: Certificate) -> Sequence[int]:
    if isinstance(certificate, QuorumCertificate):
        return [index for index, _ in certificate.signatures]
    return [entry.validator for entry in certificate.entries]
