"""What a node keeps on disk: blocks, state with its tree, receipts, indexes, and the replica's promises.

Calls block and return bytes; this layer knows no consensus types. An error from a write means that the
process must stop: every later call refuses.
"""

from tanpo.storage.blockfile import StoredBlock
from tanpo.storage.history import PastState
from tanpo.storage.layout import Executed
from tanpo.storage.ledger_store import BlockCommit, LedgerStore, audit
from tanpo.storage.overlay import Overlay, StateReader
from tanpo.storage.positions import Position
from tanpo.storage.proving import ShownTree
from tanpo.storage.recall import SafetyImage, SafetyWrite
from tanpo.storage.safety import SafetyStore
from tanpo.storage.tree import Plan, StateTree

__all__ = [
    "BlockCommit",
    "Executed",
    "LedgerStore",
    "Overlay",
    "PastState",
    "Plan",
    "Position",
    "SafetyImage",
    "SafetyStore",
    "SafetyWrite",
    "ShownTree",
    "StateReader",
    "StateTree",
    "StoredBlock",
    "audit",
]
