"""What a client is made from: nodes, identity, genesis, keys and limits, checked once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.client.identity import Identity
from tanpo.client.plan import RetryPolicy
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis, RegisteredKey, collect_keys, genesis_from_json
from tanpo.ledger.lineage import EpochPin
from tanpo.ledger.transaction import Signer
from tanpo.ledger.types import KeyId, MemberId, NetworkId

DEADLINE_S: Final = 10.0
"""How long a call may take in all, retries included: several changes of leader."""

GAS_LIMIT: Final = 200_000
"""Gas allowed to a transaction that names none: ten times an ordinary swap, and 500 of them fit a block."""

VALID_FOR_S: Final = 120.0
"""How long a transaction may wait to be committed: long enough to find out what became of it by hand."""

VALID_FOR_MAX_S: Final = 31_536_000.0
"""A year: above what any network allows, and far below where milliseconds leave 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """Everything a client needs to know. Make one with `create` or `load_profile`.

    `member` submits; it is the one that the certificate names unless said otherwise. `network_id` and `keys`
    follow from the genesis. Proofs are checked from the validators of the genesis on, or of the pinned epoch.
    """

    addresses: tuple[str, ...]
    identity: Identity
    genesis: Genesis
    network_id: NetworkId
    pin: EpochPin | None
    keys: dict[KeyId, RegisteredKey]
    member: MemberId
    signers: tuple[Signer, ...]
    gas_limit: int
    deadline_s: float
    retry: RetryPolicy

    @classmethod
    def create(
        cls,
        addresses: str | Sequence[str],
        *,
        identity: Identity,
        genesis: Genesis | Path | str,
        signers: Iterable[Signer] = (),
        member: str = "",
        deadline_s: float = DEADLINE_S,
        retry: RetryPolicy | None = None,
        pin: EpochPin | str | None = None,
    ) -> ClientConfig:
        """Return a configuration. Several addresses are nodes to fall back to, in order.

        Raises:
            UsageError: an address, the genesis, the deadline, the member or the pin is unusable.
        """
        known = genesis if isinstance(genesis, Genesis) else load_genesis(genesis)
        keys = collect_keys(known)
        named = tuple(signers)
        return cls(
            addresses=_check_addresses((addresses,) if isinstance(addresses, str) else tuple(addresses)),
            identity=identity,
            genesis=known,
            network_id=known.network_id,
            pin=EpochPin.parse(pin) if isinstance(pin, str) else pin,
            keys=keys,
            member=MemberId(member) if member else _find_member(identity, named, keys),
            signers=named,
            gas_limit=min(GAS_LIMIT, known.parameters.gas_limit_max),
            deadline_s=check_deadline(deadline_s),
            retry=retry or RetryPolicy(),
        )


def load_genesis(path: Path | str) -> Genesis:
    """Return the genesis in a JSON file. Raises `UsageError` naming the file when it holds none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(
            f"genesis file {path} cannot be read: {error}", path, "", "name the genesis of the network"
        ) from None
    try:
        return genesis_from_json(text)
    except UsageError as error:
        raise _wrong(f"genesis file {path}: {error.message}", path, "", error.remedy) from None


def check_deadline(deadline_s: float) -> float:
    """Return a deadline that is above 0 and at most an hour. Raises `UsageError` for any other."""
    if not 0 < deadline_s <= 3600:
        raise _wrong(
            "the deadline is out of range", deadline_s, "above 0, at most 3600 seconds", "correct it"
        )
    return deadline_s


def check_validity(valid_for_s: float) -> float:
    """Return a validity that is above 0 and at most a year. Raises `UsageError` for any other."""
    if not 0 < valid_for_s <= VALID_FOR_MAX_S:
        raise _wrong(
            "the validity of a transaction is out of range",
            valid_for_s,
            f"above 0, at most {VALID_FOR_MAX_S} seconds; the network's own limit is lower",
            "correct it",
        )
    return valid_for_s


def _check_addresses(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if not addresses:
        raise _wrong("no node to connect to", "", "one address or more", "give host:port of your node")
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
            raise _wrong("an address has a wrong form", address, "host:port", "give host:port of your node")
    return tuple(dict.fromkeys(addresses))


def _find_member(
    identity: Identity, signers: tuple[Signer, ...], keys: dict[KeyId, RegisteredKey]
) -> MemberId:
    named = identity.member
    if named is not None:
        return named
    for signer in signers:
        if signer.key_id in keys:
            return keys[signer.key_id].member
    raise _wrong(
        "neither the certificate nor a signing key tells which member this client is",
        identity.source,
        "a certificate with the URI tanpo:<member>:client:<name>",
        "name the member",
    )


def _wrong(what: str, value: object, limit: str, remedy: str) -> UsageError:
    return UsageError(Reason.CONFIGURATION, what, value=value, limit=limit, remedy=remedy)
