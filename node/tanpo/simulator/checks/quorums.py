"""Whether what counts as a certificate is one, by arithmetic of its own: any two share f + 1 validators (S1).

The protocol's own count is not used here, so that a fault in it shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tanpo.consensus import Message
from tanpo.consensus.messages import Append, Heartbeat, Nudge, TermCertificate, Timeout
from tanpo.ledger.certificate import QuorumCertificate, TimeoutCertificate
from tanpo.simulator.violation import Violation


def check_quorums(name: str, message: Message, validator_count: int) -> None:
    """Check every certificate in a message of an honest process.

    Raises:
        Violation: one of them has too few distinct signers.
    """
    for signers in _list_signers(message):
        faulty_max = (validator_count - 1) // 3
        if len(set(signers)) != len(signers) or 2 * len(signers) - validator_count <= faulty_max:
            what = f"holds a certificate of {list(signers)}, no quorum of {validator_count} validators"
            raise Violation("quorum", what, name)


def _list_signers(message: Message) -> Iterator[Sequence[int]]:
    """Return the signers of each certificate; base certificates need none."""
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
            yield [index for index, _ in certificate.signatures]
    if opening is not None:
        yield [entry.validator for entry in opening.entries]
