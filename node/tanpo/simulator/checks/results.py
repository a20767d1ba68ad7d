"""Whether an honest vote agrees with what executing the parent gave (V4, V5)."""

from __future__ import annotations

from tanpo.consensus import Roots
from tanpo.ledger.block import BlockFlags, Header
from tanpo.simulator.violation import Violation


def check_results(name: str, header: Header, results: Roots, valset_hash: bytes) -> None:
    """Compare a header that an honest process votes for with the true results of its parent.

    Raises:
        Violation: it claims other roots, or other validators than the state wants next.
    """
    if (header.state_root, header.receipts_root) != (results.state_root, results.receipts_root):
        raise Violation("results", f"votes for height {header.height} with other roots of its parent", name)
    is_end = results.pending_valset is not None
    wanted = results.pending_valset if is_end else valset_hash
    if (bool(header.flags & BlockFlags.EPOCH_END), header.next_valset_hash) != (is_end, wanted):
        raise Violation("results", f"votes for height {header.height} with other marks of the epoch", name)
