"""A second verifier of proof files, written from docs/proofs.md: it uses nothing of tanpo.

    python docs/verify_proof.py r.json genesis.json

It prints what is proved and exits with 0, or prints the link that does not hold and exits with 1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

HEADER_BYTES = 339
EMPTY = bytes(32)
PARAMETERS = (
    "block_transactions_max",
    "block_bytes_max",
    "validity_max_ms",
    "gas_limit_max",
    "block_gas_max",
)


RECORDS = (
    "Map[str, (name: str, lei: str, authorities: list[(certificate: bytes, added: int)], keys: list[bytes])]"
)


class BrokenLink(Exception):
    """The file proves nothing, and why."""


def check(condition: bool, link: str) -> None:
    """Raise `BrokenLink` unless the condition holds."""
    if not condition:
        raise BrokenLink(link)


# -- the canonical encoding (docs/encoding.md) --------------------------------------------------------------


def u(size: int, number: int) -> bytes:
    """Spell an unsigned number of so many bytes."""
    return number.to_bytes(size, "big")


def text(value: str) -> bytes:
    """Spell text with its length."""
    return u(2, len(value.encode())) + value.encode()


def blob(value: bytes) -> bytes:
    """Spell bytes with their length."""
    return u(4, len(value)) + value


def spell_value(value: Any) -> bytes:
    """Spell a value of the JSON form: bytes are {"$bytes": hex}."""
    if isinstance(value, bool):
        return u(1, value)
    if isinstance(value, int):
        size = 0 if not value else ((~value if value < 0 else value).bit_length() + 8) // 8
        return b"\x02" + u(1, size) + value.to_bytes(size, "big", signed=True)
    if isinstance(value, str):
        return b"\x03" + text(value)
    if isinstance(value, list):
        return b"\x05" + u(4, len(value)) + b"".join(map(spell_value, value))
    if set(value) == {"$bytes"}:
        return b"\x04" + blob(bytes.fromhex(value["$bytes"]))
    return b"\x06" + spell_fields(value)


def spell_fields(fields: dict[str, Any]) -> bytes:
    """Spell named values in ascending order of name."""
    return u(4, len(fields)) + b"".join(text(name) + spell_value(fields[name]) for name in sorted(fields))


def compute_network_id(genesis: dict[str, Any]) -> bytes:
    """Return the hash of a genesis, which is the network's id."""
    parts = [u(2, 1), text(genesis["network"]), u(8, genesis["time_ms"])]
    parts += [u(8, genesis["parameters"][name]) for name in PARAMETERS]
    parts.append(u(4, len(genesis["members"])))
    for one in genesis["members"]:
        parts += [text(one["member"]), text(one["name"]), text(one["lei"]), u(4, len(one["roles"]))]
        parts += [text(role) for role in one["roles"]]
        parts += [blob(one["ca_certificate"].encode()), u(4, len(one["keys"]))]
        parts += [blob(bytes.fromhex(key)) for key in one["keys"]]
    parts.append(u(4, len(genesis["validators"])))
    for one in genesis["validators"]:
        parts += [text(one["member"]), text(one["node"]), blob(bytes.fromhex(one["public_key"]))]
    parts.append(u(4, len(genesis["contracts"])))
    for one in genesis["contracts"]:
        parts += [text(one["name"]), blob(one["source"].encode()), spell_fields(one["arguments"])]
    return sha256(b"tanpo/genesis/1" + b"".join(parts)).digest()


class Reader:
    """Takes bytes apart."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def raw(self, size: int) -> bytes:
        """Return the next bytes."""
        check(self.at + size <= len(self.data), "bytes that are cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def u(self, size: int) -> int:
        """Return the next number of so many bytes."""
        return int.from_bytes(self.raw(size), "big")

    def text(self) -> str:
        """Return the next text."""
        return self.raw(self.u(2)).decode()

    def int(self) -> int:
        """Return the next integer of a contract."""
        return int.from_bytes(self.raw(self.u(1)), "big", signed=True)


class Header:
    """A block's header: the fields that a proof needs."""

    def __init__(self, encoded: bytes) -> None:
        check(len(encoded) == HEADER_BYTES and encoded[:2] == b"\0\1", "a header")
        read = Reader(encoded[2:])
        self.network_id, self.epoch, self.term, self.height = read.raw(32), read.u(8), read.u(8), read.u(8)
        self.parent_hash, self.parent_term, self.time_ms = read.raw(32), read.u(8), read.u(8)
        _, _, self.tx_count, _ = read.u(4), read.raw(32), read.u(4), read.raw(32)
        self.state_root, self.receipts_root = read.raw(32), read.raw(32)
        self.valset_hash, self.next_valset_hash, self.flags = read.raw(32), read.raw(32), read.u(1)
        self.block_hash = sha256(b"tanpo/header/1" + encoded).digest()


# -- who certifies what -------------------------------------------------------------------------------------


def is_signed(public_key: bytes, signature: bytes, digest: bytes) -> bool:
    """Tell whether a P-256 key signed a digest."""
    key = load_der_public_key(public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, digest, ec.ECDSA(Prehashed(SHA256())))
    except InvalidSignature:
        return False
    return True


def hash_validators(validators: list[dict[str, str]]) -> bytes:
    """Return the hash that headers carry for validators."""
    spelled = [text(v["member"]) + text(v["node"]) + blob(bytes.fromhex(v["public_key"])) for v in validators]
    return sha256(b"tanpo/valset/1" + u(1, len(validators)) + b"".join(spelled)).digest()


def check_final(top: Header, commit_proof: bytes, validators: list[dict[str, str]], link: str) -> None:
    """Check that a quorum of these validators made a block final."""
    read = Reader(commit_proof)
    kind, epoch, term, height = read.u(1), read.u(8), read.u(8), read.u(8)
    block_hash = read.raw(32)
    votes = [(read.u(1), read.raw(read.u(4))) for _ in range(read.u(1))]
    if read.u(1):  # a child of the same term is certified
        child_bytes = read.raw(HEADER_BYTES)
        child = Header(child_bytes)
        check(kind == 1 and child.block_hash == block_hash, link)
        check((child.epoch, child.term, child.height) == (epoch, term, height), link)
        check(child.parent_term == child.term == top.term and child.parent_hash == top.block_hash, link)
        check(child.height == top.height + 1, link)
    else:
        check(kind == 2 and block_hash == top.block_hash and height == top.height, link)
        # The last block of an epoch may be proposed once more in a later term, and become final there.
        check(term == top.term or (top.flags == 1 and term > top.term), link)
    check(read.at == len(commit_proof) and epoch == top.epoch, link)
    count = len(validators)
    indices = [index for index, _ in votes]
    check(len(votes) >= (count + (count - 1) // 3) // 2 + 1 and indices == sorted(set(indices)), link)
    signed = b"tanpo-v1" + u(1, kind) + top.network_id + u(8, epoch) + u(8, term) + u(8, height) + block_hash
    for index, signature in votes:
        check(index < count, link)
        key = bytes.fromhex(validators[index]["public_key"])
        check(is_signed(key, signature, sha256(signed).digest()), link)


def check_trail(trail: dict[str, Any], network_id: bytes, genesis: dict[str, Any]) -> Header:
    """Follow the validators from the genesis, and return the header that the last of them certified."""
    check(trail["epoch"] == 0 and trail["validators"] == genesis["validators"], "validators")
    sets = [genesis["validators"]]
    for number, step in enumerate(trail["steps"]):
        link, header = f"lineage from epoch {number}", Header(bytes.fromhex(step["header"]))
        check(header.network_id == network_id and header.epoch == number and header.flags == 1, link)
        check(header.valset_hash == hash_validators(sets[number]), link)
        check(header.next_valset_hash == hash_validators(step["validators"]), link)
        check_final(header, bytes.fromhex(step["commit_proof"]), sets[number], link)
        sets.append(step["validators"])
    headers = [Header(bytes.fromhex(one)) for one in (trail["header"], *trail["descendants"])]
    for below, header in zip([None, *headers], headers, strict=False):
        check(header.network_id == network_id and header.epoch < len(sets), "headers")
        check(header.valset_hash == hash_validators(sets[header.epoch]), "headers")
        if below is not None:
            check(header.parent_hash == below.block_hash and header.height == below.height + 1, "headers")
    check(max(header.epoch for header in headers) == len(sets) - 1, "headers")
    check_final(headers[-1], bytes.fromhex(trail["commit_proof"]), sets[headers[-1].epoch], "commit proof")
    return headers[0]


# -- receipts -----------------------------------------------------------------------------------------------


def compute_merkle_root(leaf: bytes, index: int, count: int, siblings: list[bytes]) -> bytes:
    """Return the root that a path leads to (RFC 9162, section 2.1)."""
    check(0 <= index < count, "Merkle path")
    digest, rest = sha256(b"\0" + leaf).digest(), list(siblings)
    while count > 1:
        if index ^ 1 < count:
            check(bool(rest), "Merkle path")
            sibling = rest.pop(0)
            digest = sha256(b"\1" + (sibling + digest if index & 1 else digest + sibling)).digest()
        index, count = index // 2, (count + 1) // 2
    check(not rest, "Merkle path")
    return digest


def check_receipt(file: dict[str, Any], genesis: dict[str, Any], header: Header) -> str:
    """Check a receipt file below its certified header."""
    network_id = header.network_id
    block, encoded = Header(bytes.fromhex(file["block_header"])), bytes.fromhex(file["receipt"])
    check(block.block_hash == header.parent_hash and block.height + 1 == header.height, "block header")
    read = Reader(encoded)
    version, tx_id, height, index = read.u(1), read.raw(32), read.u(8), read.u(4)
    succeeded, code = read.u(1), read.text()
    check(version == 1 and height == block.height and succeeded < 2, "receipt")
    check(file["leaf_count"] == block.tx_count, "Merkle path")
    siblings = [bytes.fromhex(one) for one in file["siblings"]]
    root = compute_merkle_root(encoded, index, block.tx_count, siblings)
    check(root == header.receipts_root, "Merkle path")
    payload = bytes.fromhex(file["payload"])
    check(sha256(b"tanpo/tx/1" + network_id + payload).digest() == tx_id, "transaction")
    check(file["envelope"].count(tx_id.hex()) == 1, "envelope")
    read = Reader(payload)
    read.u(1), read.text(), read.text(), read.u(8), read.u(8)
    named = [read.raw(16).hex() for _ in range(read.u(1))]
    signatures = {one["key_id"]: bytes.fromhex(one["signature"]) for one in file["signatures"]}
    check(list(signatures) == sorted(signatures) and len(signatures) == len(file["signatures"]), "signatures")
    check(set(named) <= set(signatures), "signatures")
    keys = {compute_key_id(key): (m["member"], key, 0) for m in genesis["members"] for key in m["keys"]}
    standing = file["standing"]
    if standing is not None:
        keys |= read_owners(standing, named, block, header)
    ids = b"".join(bytes.fromhex(one) for one in file["envelope"])
    digest = sha256(b"tanpo/envelope/1" + network_id + ids).digest()
    for key_id, signature in signatures.items():
        check(key_id in keys and is_signed(bytes.fromhex(keys[key_id][1]), signature, digest), "signatures")
    told = [
        (one["key_id"], one["member"], one["public_key"], one["registered_height"]) for one in file["signers"]
    ]
    check(told == [(key_id, *keys[key_id]) for key_id in named], "signers")
    outcome = "succeeded" if succeeded else f"was refused with {code}"
    members = sorted({keys[key_id][0] for key_id in named})
    told_standing = check_standing(standing, members, header)
    return f"transaction {tx_id.hex()} {outcome} in block {height}{told_standing}"


def compute_key_id(key: str) -> str:
    """Return the id of a public key, DER in hexadecimal digits."""
    return sha256(bytes.fromhex(key)).digest()[:16].hex()


def read_owners(
    standing: dict[str, Any], named: list[str], block: Header, header: Header
) -> dict[str, tuple[str, str, int]]:
    """Return whose keys are, and since when, in the state below the certified header."""
    tree, entry = Tree(bytes.fromhex(standing["partial_tree"])), bytes.fromhex(standing["contract_entry"])
    check(tree.root == header.state_root and len(standing["owners"]) == len(named), "standing")
    tree.check_value(b"\x02\0contract/members", entry, "standing")
    check(read_layout(entry).get("owners", "").startswith("Map[bytes, "), "standing")
    found: dict[str, tuple[str, str, int]] = {}
    for key_id, stored in zip(named, standing["owners"], strict=True):
        value = bytes.fromhex(stored)
        tree.check_value(b"\1\0\x07members\x06owners" + text_bytes(bytes.fromhex(key_id)), value, "standing")
        read = Reader(value)
        key, member, added, removed = read.raw(read.u(2)).hex(), read.text(), read.int(), read.int()
        check(compute_key_id(key) == key_id, "standing")
        check(added < block.height and (removed == 0 or removed >= block.height), "standing")
        found[key_id] = (member, key, added)
    return found


def check_standing(standing: dict[str, Any] | None, members: list[str], header: Header) -> str:
    """Return the roles and the CAs of members in the state below the certified header."""
    if standing is None:
        return "; the roles of its signers are not proved"
    tree, entry = Tree(bytes.fromhex(standing["partial_tree"])), bytes.fromhex(standing["contract_entry"])
    check(tree.root == header.state_root, "standing")
    check(len(standing["roles"]) == len(standing["records"]) == len(members), "standing")
    tree.check_value(b"\x02\0contract/members", entry, "standing")
    layout = read_layout(entry)
    check((layout.get("roles"), layout.get("records")) == ("Map[str, list[str]]", RECORDS), "standing")
    roles: dict[str, list[str] | None] = {}
    authorities: dict[str, list[tuple[int, str]]] = {}
    for member, *stored in zip(members, standing["roles"], standing["records"], strict=True):
        held, record = (None if one is None else bytes.fromhex(one) for one in stored)
        tree.check_value(b"\1\0\x07members\x05roles" + text(member), held, "standing")
        tree.check_value(b"\1\0\x07members\x07records" + text(member), record, "standing")
        check((held is None) == (record is None), "standing")
        read = Reader(held or b"")
        roles[member] = None if held is None else [read.text() for _ in range(read.u(2))]
        authorities[member] = [] if record is None else read_authorities(Reader(record))
    return f"; roles then {json.dumps(roles)}; CAs then {json.dumps(authorities)}"


def read_authorities(read: Reader) -> list[tuple[int, str]]:
    """Return the CAs of a member's record: since which block, and the digest of each PEM."""
    read.text(), read.text()  # name and LEI
    found = [(read.raw(read.u(2)), read.int()) for _ in range(read.u(2))]
    return [(added, sha256(certificate).hexdigest()) for certificate, added in found]


# -- the state ----------------------------------------------------------------------------------------------


def group_of(key: bytes) -> bytes:
    """Return the index group of a key, empty for others."""
    return key[4 : 4 + int.from_bytes(key[2:4], "big")] if len(key) >= 4 and key[1] == 1 else b""


def path_of(key: bytes) -> bytes:
    """Return the path of a key in the tree."""
    digest, group = sha256(b"\x10" + key).digest(), group_of(key)
    return sha256(b"\x12" + group).digest()[:2] + digest[2:] if group else digest


class Tree:
    """What a partial tree shows: value hashes by path, and the ranges that it hides."""

    def __init__(self, encoded: bytes) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.hidden: list[tuple[int, int]] = []
        self.read = Reader(encoded)
        self.root = sha256(b"\x02tanpo-state-1" + self.walk(0, 0)).digest()
        check(self.read.at == len(encoded), "partial tree")

    def walk(self, prefix: int, depth: int) -> bytes:
        """Return the hash of the next node, which is at this place."""
        shift = 256 - 2 * depth
        tag = self.read.u(1)
        if tag == 0:
            return EMPTY
        if tag == 1:
            digest = self.read.raw(32)
            check(digest != EMPTY, "partial tree")
            self.hidden.append((prefix << shift, (prefix + 1) << shift))
            return digest
        if tag == 2:
            count = self.read.u(1)
            entries = [(self.read.raw(32), self.read.raw(32)) for _ in range(count)]
            paths = [path for path, _ in entries]
            check(1 <= count <= 8 and paths == sorted(set(paths)), "partial tree")
            check(all(int.from_bytes(path, "big") >> shift == prefix for path in paths), "partial tree")
            self.entries.update(entries)
            return sha256(b"\0" + b"".join(path + digest for path, digest in entries)).digest()
        check(tag == 3 and depth < 128, "partial tree")
        return sha256(b"\1" + b"".join(self.walk(prefix << 2 | i, depth + 1) for i in range(4))).digest()

    def check_value(self, key: bytes, value: bytes | None, link: str) -> None:
        """Check that the state has this value under a key; None is nothing."""
        path = path_of(key)
        at = int.from_bytes(path, "big")
        if value is None:
            check(path not in self.entries and not any(a <= at < b for a, b in self.hidden), link)
        else:
            check(self.entries.get(path) == sha256(b"\x11" + value).digest(), link)


def read_layout(entry: bytes) -> dict[str, str]:
    """Return the variables in the entry of a contract, with their types."""
    read = Reader(entry)
    read.u(4), read.u(8), read.u(2), read.u(2), read.raw(read.u(4))
    for _ in range(read.u(4)):
        read.text()
    return {read.text(): read.text() for _ in range(read.u(4))}


def spell_int(number: int) -> bytes:
    """Spell an integer of a key, so that bytes are ordered as numbers are."""
    size = (abs(number).bit_length() + 7) // 8
    if number >= 0:
        return u(1, 0x80 + size) + u(size, number)
    return u(1, 0x7F - size) + u(size, (1 << 8 * size) - 1 + number)


SPELL_PART: dict[str, tuple[type, Callable[[Any], bytes]]] = {
    "int": (int, spell_int),
    "bool": (bool, lambda value: u(1, value)),
    "str": (str, text),
    "bytes": (dict, lambda value: text_bytes(bytes.fromhex(value["$bytes"]))),
}


def text_bytes(value: bytes) -> bytes:
    """Spell bytes of a key with their length."""
    return u(2, len(value)) + value


def spell_key(kind: str, key: Any) -> bytes:
    """Spell a key of a `Map`, or a group of an `Index`, of this type."""
    kinds = kind[6:-1].split(", ") if kind.startswith("tuple[") else [kind]
    parts = key if kind.startswith("tuple[") else [key]
    check(isinstance(parts, list) and len(parts) == len(kinds), "key")
    for one, part in zip(kinds, parts, strict=True):
        check(type(part) is SPELL_PART[one][0], "key")
    return b"".join(SPELL_PART[one][1](part) for one, part in zip(kinds, parts, strict=True))


def split_kind(kind: str) -> tuple[str, str]:
    """Return the two types inside `Map[...]` or `Index[...]`."""
    inner, depth = kind.partition("[")[2][:-1], 0
    for at, sign in enumerate(inner):
        depth += (sign in "[(") - (sign in "])")
        if sign == "," and not depth:
            return inner[:at], inner[at + 2 :]
    raise BrokenLink("key")


def check_state(file: dict[str, Any], header: Header) -> str:
    """Check a file of the state below its certified header."""
    check(file["height"] + 1 == header.height, "height")
    tree = Tree(bytes.fromhex(file["partial_tree"]))
    check(tree.root == header.state_root, "partial tree")
    contract, variable, entry = file["contract"], file["variable"], bytes.fromhex(file["contract_entry"])
    tree.check_value(b"\x02\0contract/" + contract.encode(), entry, "contract entry")
    kind = read_layout(entry).get(variable, "")
    place = u(1, len(contract)) + contract.encode() + u(1, len(variable)) + variable.encode()
    where = f"{contract}.{variable} after block {file['height']}"
    if file["format"] == "tanpo-listing-proof":
        check(kind.startswith("Index["), "key")
        spelled = spell_key(split_kind(kind)[0], file["group"])
        members = check_listing(file, tree, place + text_bytes(spelled))
        return f"{json.dumps(file['group'])} in {where} had exactly {len(members)} members"
    check(kind != "" and not kind.startswith("Index["), "key")
    is_map = kind.startswith("Map[")
    check(is_map or file["key"] is None, "key")
    key = b"\1\0" + place + (spell_key(split_kind(kind)[0], file["key"]) if is_map else b"")
    value = None if file["value"] is None else bytes.fromhex(file["value"])
    tree.check_value(key, value, "value" if value is not None else "absence")
    return f"{json.dumps(file['key'])} in {where} held {'nothing' if value is None else value.hex()}"


def check_listing(file: dict[str, Any], tree: Tree, group: bytes) -> list[bytes]:
    """Return the keys of a group, all of them."""
    first = int.from_bytes(sha256(b"\x12" + group).digest()[:2], "big") << 240
    stop = first + (1 << 240)
    check(not any(a < stop and first < b for a, b in tree.hidden), "listing")
    no_value = sha256(b"\x11").digest()  # of all entries of indexes, and of no others
    in_range = {path for path in tree.entries if first <= int.from_bytes(path, "big") < stop}
    shown = {path for path in in_range if tree.entries[path] == no_value}
    keys = [bytes.fromhex(key) for key in file["group_keys"]]
    check(keys == sorted(set(keys)) and {path_of(key) for key in keys} == shown, "listing")
    return [key for key in keys if group_of(key) == group]


def verify(file: dict[str, Any], genesis: dict[str, Any]) -> str:
    """Return what a file proves to somebody who trusts the genesis. Raises `BrokenLink`."""
    network_id = compute_network_id(genesis)
    check(file["version"] == (3 if file["format"] == "tanpo-receipt-proof" else 1), "version")
    check((file["network"], file["network_id"]) == (genesis["network"], network_id.hex()), "network")
    header = check_trail(file["trail"], network_id, genesis)
    if file["format"] == "tanpo-receipt-proof":
        return check_receipt(file, genesis, header)
    check(file["format"] in ("tanpo-value-proof", "tanpo-listing-proof"), "format")
    return check_state(file, header)


def main() -> int:
    """Check the files named on the command line."""
    proof, genesis = (json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:3])
    try:
        print(f"proved: {verify(proof, genesis)}")
    except BrokenLink as broken:
        print(f"not proved: {broken} does not hold")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
