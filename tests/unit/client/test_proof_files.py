"""Proof files: each stands alone and says what it proves, and no change of it is accepted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tanpo.cli.wording import describe_verdict
from tanpo.client import exporting
from tanpo.ledger.errors import LedgerError, UsageError
from tanpo.ledger.genesis import Genesis, genesis_to_json
from tanpo.ledger.lineage import EpochPin
from tanpo.ledger.proofcheck import ProofChecker, ReceiptVerdict, StateVerdict, verify_proof_file
from tanpo.ledger.prooffile import ProofFile, encode_proof_file
from tanpo.ledger.proofparse import decode_proof_file
from tanpo.ledger.prooftrail import LinkBroken
from tanpo.ledger.types import Epoch, TxId
from tanpo.testing.chain import MEMBERS, change_validators
from tanpo.testing.town import Town

KINDS = ("receipt", "refusal", "balance", "absence", "listing")
BYTES_ALL = 80
"""Parts up to this size have each of their bytes changed; of longer ones between 80 and 160 are."""

LINKS = {
    "network": "network",
    "network_id": "network",
    "payload": "transaction",
    "envelope": "envelope",
    "signatures": "signatures",
    "signers": "signers",
    "standing": "standing",
    "receipt": "Merkle path",
    "leaf_count": "Merkle path",
    "siblings": "Merkle path",
    "block_header": "block header",
    "height": "height",
    "contract_entry": "contract entry",
    "partial_tree": "partial tree",
    "value": "value",
    "group_keys": "listing",
}
"""Which link a change of the last byte of a field breaks."""


@dataclass(frozen=True)
class Exported:
    """Files of each kind, two epochs away from the genesis, as text."""

    genesis: Genesis
    texts: dict[str, str]
    pin: EpochPin
    pinned: str
    early: str


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    town = Town(tmp_path_factory.mktemp("town") / "store")
    town.open_book(dealer_a=1_000, trust_bank=7)
    validators = list(town.chain.genesis.validators)
    for number in range(2):
        validators[number] = town.make_validator(validators[number].member, "node-2")
        change_validators(town.chain, *validators)
    arguments = {"deliverer": "dealer-a", "receiver": "dealer-b", "instrument": "yen"}
    transactions = [
        town.chain.make_transaction(
            "instruments", "transfer", {**arguments, "quantity": quantity}, "dealer-a"
        )
        for quantity in (300, 5_000, 1)
    ]
    town.chain.run(*transactions)
    town.chain.run()
    files: dict[str, ProofFile] = {
        "receipt": town.run(exporting.receipt_file(town.context, transactions[0].tx_id)),
        "refusal": town.run(exporting.receipt_file(town.context, transactions[1].tx_id)),
        "balance": town.run(
            exporting.value_file(town.context, "instruments", "positions", ("dealer-a", "yen"), 0)
        ),
        "absence": town.run(
            exporting.value_file(town.context, "instruments", "positions", ("custody-bank", "yen"), 0)
        ),
        "listing": town.run(exporting.listing_file(town.context, "instruments", "accounts_of", "yen", 0)),
    }
    lineage = town.context.trust.get_lineage()
    pin = EpochPin(epoch=lineage.newest, valset_hash=lineage.get(lineage.newest).valset_hash)
    early = town.run(exporting.value_file(town.context, "instruments", "operators", None, 2))
    pinned = town.run(exporting.receipt_file(town.make_context(pin), transactions[0].tx_id))
    yield Exported(
        genesis=town.chain.genesis,
        texts={kind: encode_proof_file(file) for kind, file in files.items()},
        pin=pin,
        pinned=encode_proof_file(pinned),
        early=encode_proof_file(early),
    )
    town.chain.close()


def check(text: str, genesis: Genesis, pin: EpochPin | None = None) -> Any:
    return verify_proof_file(decode_proof_file(text), genesis, pin)


def describe(exported: Exported, kind: str) -> str:
    return "\n".join(describe_verdict(check(exported.texts[kind], exported.genesis), exported.genesis))


def test_a_receipt_says_what_was_delivered(exported: Exported) -> None:
    words = describe(exported, "receipt")

    assert words.startswith("dealer-a delivered 300 of yen to dealer-b, at 2026-01-01 00:00:")
    assert "final in block" in words
    assert "Certified by 3 of the 4 validators of epoch 2: trust-bank/node-2, custody-bank/node-2," in words
    assert "the validators that the genesis names, through 2 changes" in words


def test_a_receipt_of_a_refusal_says_that_nothing_was_changed(exported: Exported) -> None:
    words = describe(exported, "refusal")

    assert "was refused with INSUFFICIENT_BALANCE (account dealer-a, available 700" in words
    assert "Nothing was changed by it." in words
    assert "delivered" not in words


def test_a_receipt_says_which_roles_its_signers_held_then(exported: Exported) -> None:
    line = "After that block dealer-a was a member with the roles participant: dealer-a, without an LEI."
    assert line in describe(exported, "receipt").splitlines()
    document = json.loads(exported.texts["receipt"])
    document["standing"] = None
    words = describe_verdict(check(json.dumps(document), exported.genesis), exported.genesis)
    assert (
        sum(
            one.startswith("Which roles and CAs the members that signed had then is not proved")
            for one in words
        )
        == 1
    )


def test_roles_are_those_of_the_height_and_missing_once_it_left_the_window(tmp_path: Path) -> None:
    town = Town(tmp_path / "store")
    town.open_book(dealer_a=10)
    genesis = town.chain.genesis

    def change(entry: str, role: str) -> None:
        assert town.call("members", entry, {"member": "dealer-a", "role": role}, *MEMBERS).succeeded

    def export(tx_id: bytes) -> ReceiptVerdict:
        file = town.run(exporting.receipt_file(town.context, TxId(tx_id)))
        verdict = check(encode_proof_file(file), genesis)
        assert isinstance(verdict, ReceiptVerdict)
        return verdict

    transfers = [town.transfer(1).tx_id]
    change("grant", "supervisor")
    transfers.append(town.transfer(1).tx_id)
    for role in ("supervisor", "participant"):
        change("revoke", role)
    transfers.append(town.transfer(1).tx_id)
    town.chain.run()
    roles = [[one.roles for one in export(tx_id).standing or ()] for tx_id in transfers]
    assert roles == [[("participant",)], [("participant", "supervisor")], [()]]
    assert "dealer-a was a member with no role" in "\n".join(describe_verdict(export(transfers[2]), genesis))

    town.chain.execution.store.tree._window = 2
    for _ in range(8):
        town.chain.run()
    late = export(transfers[0])
    assert late.standing is None
    assert "is not proved" in "\n".join(describe_verdict(late, genesis))
    town.chain.close()


def test_balances_absence_and_listings_say_what_they_prove(exported: Exported) -> None:
    assert "dealer-a had of yen after block" in describe(exported, "balance")
    assert ": 699 free, 0 locked, 0 pledged out, 0 pledged in." in describe(exported, "balance")
    assert describe(exported, "absence").startswith("custody-bank had nothing of yen after block")
    listing = describe(exported, "listing")
    assert "had 3 members after block" in listing
    assert "no others: dealer-a, dealer-b, trust-bank." in listing


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_has_one_spelling(exported: Exported, kind: str) -> None:
    text = exported.texts[kind]

    assert encode_proof_file(decode_proof_file(text)) == text


def change_hex(part: str) -> Iterator[str]:
    """Yield a hexadecimal part with about every byte changed, and in other lengths and spellings."""
    count = len(part) // 2
    for at in range(0, count, max(1, count // BYTES_ALL)):
        changed = int(part[2 * at : 2 * at + 2], 16) ^ (1 << at % 8)
        yield f"{part[: 2 * at]}{changed:02x}{part[2 * at + 2 :]}"
    yield part + "00"
    yield part[:-2] if part else "00"
    yield part[2:] + " "
    yield part + "0"
    if part != part.upper():
        yield part.upper()


def change_list(part: list[Any]) -> Iterator[Any]:
    """Yield a list with each item changed, left out and repeated, in another order and longer."""
    for at, item in enumerate(part):
        for changed in change_part(item):
            yield [*part[:at], changed, *part[at + 1 :]]
        yield [*part[:at], *part[at + 1 :]]
        yield [*part[: at + 1], item, *part[at + 1 :]]
    if len(part) > 1 and part[0] != part[1]:
        yield [part[1], part[0], *part[2:]]
    yield [*part, "00"]


def change_part(part: Any) -> Iterator[Any]:
    """Yield other things that might stand in the place of a field."""
    yield from (None, [], {}, -1) if part is not None else ("", 0, "00", [])
    if isinstance(part, dict):
        for name in part:
            for changed in change_part(part[name]):
                yield {**part, name: changed}
            yield {other: value for other, value in part.items() if other != name}
        yield {**part, "remark": "x"}
    elif isinstance(part, list):
        yield from change_list(part)
    elif isinstance(part, str) and part and len(part) % 2 == 0 and set(part) <= set("0123456789abcdef"):
        yield from change_hex(part)
    elif isinstance(part, str):
        yield from (part + "x", part[1:], part.upper(), "\ud800")
    elif isinstance(part, int) and not isinstance(part, bool):
        yield from (part + 1, part - 1, float(part), str(part), True, 1 << 64)


def change_file(document: dict[str, Any], trail_step: int) -> Iterator[dict[str, Any]]:
    """Yield changes of a file; of those of its trail, which all kinds have, only some."""
    trail = document["trail"]
    for changed in change_part({name: part for name, part in document.items() if name != "trail"}):
        yield {**changed, "trail": trail} if isinstance(changed, dict) else changed
    for changed in islice(change_part(trail), 0, None, trail_step):
        yield {**document, "trail": changed}


@pytest.mark.parametrize(
    ("kind", "trail_step"), [("receipt", 1), ("balance", 11), ("absence", 13), ("listing", 17)]
)
def test_no_change_of_a_file_is_accepted(exported: Exported, kind: str, trail_step: int) -> None:
    """Of any field, and of about any byte; and none ends in anything but a refusal."""
    document = json.loads(exported.texts[kind])
    checker = ProofChecker(exported.genesis)
    tried = 0
    for changed in change_file(document, trail_step):
        if json.dumps(changed) == json.dumps(document):
            continue
        tried += 1
        try:
            verdict = checker.verify(decode_proof_file(json.dumps(changed)))
        except LedgerError:
            continue
        if isinstance(verdict, ReceiptVerdict):
            # It proves less, and says so.
            assert (changed["standing"], verdict.standing) == (None, None), describe_change(document, changed)
            continue
        # Another key that the same tree shows to be absent is another fact, and as true.
        assert isinstance(verdict, StateVerdict), describe_change(document, changed)
        assert kind == "absence", describe_change(document, changed)
        assert (verdict.value, verdict.members) == (None, None)
        assert [verdict.variable, verdict.key] != [document["variable"], tuple(document["key"])]
    assert tried > 300


def describe_change(before: Any, after: Any) -> str:
    return ", ".join(name for name in after if after[name] != before.get(name))


@pytest.mark.parametrize("kind", ["receipt", "balance", "listing"])
def test_the_link_that_does_not_hold_is_named(exported: Exported, kind: str) -> None:
    document = json.loads(exported.texts[kind])
    for name in document.keys() & LINKS.keys():
        changed = deepcopy(document)
        changed[name] = spoil(changed[name])
        with pytest.raises(LinkBroken) as caught:
            check(json.dumps(changed), exported.genesis)
        assert caught.value.link == LINKS[name], name
    for name, link in (
        ("commit_proof", "commit proof"),
        ("header", "headers"),
        ("validators", "validators"),
        ("steps", "lineage from epoch 0 to 1"),
    ):
        changed = deepcopy(document)
        changed["trail"][name] = spoil(changed["trail"][name])
        with pytest.raises(LinkBroken) as caught:
            check(json.dumps(changed), exported.genesis)
        assert caught.value.link in (link, "commit proof" if name == "header" else link), name


def spoil(part: Any) -> Any:
    """Return a part with the end of it changed, that still is what it was in form."""
    if isinstance(part, list):
        return [spoil(part[0]), *part[1:]]
    if isinstance(part, dict):
        return {**part, next(iter(part)): spoil(next(iter(part.values())))}
    if isinstance(part, int):
        return part + 1
    return part[:-2] + f"{int(part[-2:], 16) ^ 1:02x}" if is_hex(part) else part + "x"


def is_hex(part: str) -> bool:
    return len(part) > 8 and set(part) <= set("0123456789abcdef")


def test_a_file_of_another_network_is_refused(exported: Exported) -> None:
    other = replace(exported.genesis, time_ms=exported.genesis.time_ms + 1)
    with pytest.raises(LinkBroken) as caught:
        check(exported.texts["receipt"], other)
    assert caught.value.link == "network"


def test_a_lineage_leads_no_further_than_the_header(exported: Exported) -> None:
    """Of two files for one fact one would be as good as the other, and longer at will."""
    early, late = json.loads(exported.early), json.loads(exported.texts["receipt"])
    assert (early["trail"]["steps"], len(late["trail"]["steps"])) == ([], 2)
    check(exported.early, exported.genesis)
    early["trail"]["steps"] = late["trail"]["steps"]

    with pytest.raises(LinkBroken, match="the lineage leads to another epoch"):
        check(json.dumps(early), exported.genesis)


def test_a_pin_is_passed_or_begun_with(exported: Exported) -> None:
    """A file from genesis convinces whoever pinned an epoch on its way; one from the pin needs no more."""
    check(exported.texts["receipt"], exported.genesis, exported.pin)
    verdict = check(exported.pinned, exported.genesis, exported.pin)
    assert verdict.certification.trusted == exported.pin
    assert "pinned at epoch 2" in "\n".join(describe_verdict(verdict, exported.genesis))

    with pytest.raises(LinkBroken) as caught:
        check(exported.pinned, exported.genesis)
    assert caught.value.link == "validators"
    other = replace(exported.pin, valset_hash=bytes(32))
    for text, link in ((exported.texts["receipt"], "pin"), (exported.pinned, "validators")):
        with pytest.raises(LinkBroken) as caught:
            check(text, exported.genesis, other)
        assert caught.value.link == link
    with pytest.raises(LinkBroken):
        check(exported.texts["receipt"], exported.genesis, replace(exported.pin, epoch=Epoch(3)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": "tanpo-receipt-proof"}',
        "[" * 100_000,
        '{"version": 1, "version": 1}',
        '{"format": "other", "version": 1}',
        '{"format": "tanpo-value-proof", "version": 2}',
    ],
)
def test_a_text_that_is_no_proof_is_refused(exported: Exported, text: str) -> None:
    with pytest.raises(LedgerError):
        check(text, exported.genesis)


@pytest.mark.parametrize(
    "text", ["", "3", "3:", "3:00", "-1:" + "0" * 64, "3:" + "0" * 63 + "G", "03:" + "0" * 64]
)
def test_a_text_that_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="pin of an epoch"):
        EpochPin.parse(text)


OFFLINE = """
import sys
from tanpo.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
outside = ("node", "storage", "vm", "contracts", "consensus", "client", "api", "testing", "simulator")
loaded = [name for name in sys.modules if name in {f"tanpo.{one}" for one in outside}]
loaded += [name for name in ("grpc", "plyvel", "google.protobuf") if name in sys.modules]
assert not loaded, loaded
"""


@pytest.mark.parametrize("kind", ["receipt", "listing"])
def test_a_file_is_checked_without_any_code_of_clients_or_nodes(
    exported: Exported, kind: str, tmp_path: Path
) -> None:
    genesis, file = tmp_path / "genesis.json", tmp_path / "proof.json"
    genesis.write_text(genesis_to_json(exported.genesis))
    file.write_text(exported.texts[kind])

    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, "verify", str(file), "--genesis", str(genesis)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Certified by 3 of the 4 validators of epoch 2" in done.stdout
