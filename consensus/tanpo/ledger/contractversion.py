"""What the state says of a contract: one version of it, its source, and the shapes of its variables.

The version in force stands under the contract's name, those before it under name and number. Whoever has an
entry proved under a state root can spell the contract's keys and read its values without trusting a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from tanpo.ledger.codec import Reader, Writer, malformed

CONTRACTS_PREFIX: Final = b"\x02\x00contract/"
VERSIONS_PREFIX: Final = b"\x02\x00version/"

CONTRACT_SOURCE_BYTES_MAX: Final = 64 * 1024
CONTRACT_IMPORTS_MAX: Final = 1_000

_NAME_BYTES_MAX: Final = 48
_NAMES_MAX: Final = 65_536
"""More than a source of 64 KiB can spell."""

_TYPE_BYTES_MAX: Final = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractVersion:
    """One version of a contract, as installed at `height`. Versions count from 1.

    `replaces` is the hash of the version before it, empty for the first. `imports` are the contracts it has
    handles of. `layout` is the type of every state variable, by name, that this version or one before it has.
    """

    name: str
    version: int
    height: int
    language_version: int
    gas_table_version: int
    replaces: bytes
    imports: tuple[str, ...]
    layout: Mapping[str, str]
    source: str

    @property
    def source_hash(self) -> bytes:
        """What names the source: its SHA-256."""
        return sha256(self.source.encode("ascii")).digest()


def encode_version(version: ContractVersion) -> bytes:
    """Return the canonical encoding of a version, without its name, which is in the key."""
    writer = Writer().u32(version.version).u64(version.height)
    writer.u16(version.language_version).u16(version.gas_table_version).blob(version.replaces)
    writer.u32(len(version.imports))
    for name in version.imports:
        writer.text(name)
    writer.u32(len(version.layout))
    for variable, kind in sorted(version.layout.items()):
        writer.text(variable).text(kind)
    return writer.blob(version.source.encode("ascii")).finish()


def decode_version(name: str, encoded: bytes) -> ContractVersion:
    """Return the version that `encoded` spells. Raises `PeerFault` for any other bytes."""
    reader = Reader(encoded)
    version = ContractVersion(
        name=name,
        version=reader.u32(),
        height=reader.u64(),
        language_version=reader.u16(),
        gas_table_version=reader.u16(),
        replaces=reader.blob(32),
        imports=tuple(reader.text(_NAME_BYTES_MAX) for _ in range(reader.count(CONTRACT_IMPORTS_MAX))),
        layout={
            reader.text(_NAME_BYTES_MAX): reader.text(_TYPE_BYTES_MAX)
            for _ in range(reader.count(_NAMES_MAX))
        },
        source=_read_source(reader),
    )
    reader.finish()
    return version


def compute_contract_key(name: str) -> bytes:
    """Return where the version in force of a contract is stored."""
    return CONTRACTS_PREFIX + name.encode("ascii")


def compute_version_key(name: str, version: int) -> bytes:
    """Return where a version of a contract is stored once another took its place."""
    return VERSIONS_PREFIX + name.encode("ascii") + b"/" + version.to_bytes(4, "big")


def _read_source(reader: Reader) -> str:
    try:
        return reader.blob(CONTRACT_SOURCE_BYTES_MAX).decode("ascii")
    except UnicodeDecodeError:
        raise malformed("the source of a contract is not ASCII") from None
