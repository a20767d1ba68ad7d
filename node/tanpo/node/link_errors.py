"""Why a peer cannot be reached, in words for its operator: gRPC's own bury a refused certificate.

The texts are gRPC's and OpenSSL's and may change with them; what is not known here is passed on as it is.
"""

from __future__ import annotations

import re
from typing import Final

_CONNECTING: Final = re.compile(r"failed to connect to all addresses; last error: [A-Z_]+: [a-z0-9]+:\S+: ")
_REFUSED_CERTIFICATE: Final = re.compile(r"CERTIFICATE_VERIFY_FAILED(?:: (?P<why>[^()]+?))?(?: *[(\[].*)?$")
_WRONG_NAME: Final = re.compile(r"hostname verification|is not in peer certificate", re.IGNORECASE)
_CUT_SHORT: Final = re.compile(r"^(?:handshake read failed|socket closed|recvmsg)", re.IGNORECASE)


def explain_link_failure(code: str, details: str, name: str) -> str:
    """Return why a link failed, from a status' code and details. `name` is the peer's in its certificate."""
    cause, is_connecting = _strip(details)
    refused = _REFUSED_CERTIFICATE.search(cause)
    if refused is not None:
        return f"its TLS certificate is refused: {refused['why'] or 'it does not verify'}"
    if _WRONG_NAME.search(cause):
        return f"its TLS certificate is refused: it does not name {name}; is the address another node's?"
    if is_connecting and _CUT_SHORT.search(cause):
        return f"it does not run, cannot be reached, or refuses our TLS certificate ({cause})"
    return f"{code}: {cause}"


def _strip(details: str) -> tuple[str, bool]:
    """Return the details without gRPC's preamble, and whether there was one: then nothing was sent."""
    cause, count = _CONNECTING.subn("", details, count=1)
    return cause, count > 0
