"""Which protocol nodes speak between them. It imports nothing, so that a command can tell it at once."""

from __future__ import annotations

from typing import Final

PROTOCOL_VERSION: Final = 2
"""Of the frames and messages between nodes; nodes of other versions are refused."""
