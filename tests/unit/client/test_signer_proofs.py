"""A receipt proves whose key signed by the state after its block: of members that came later too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from tanpo.cli.wording import describe_verdict
from tanpo.client import exporting
from tanpo.ledger.contractversion import compute_contract_key
from tanpo.ledger.errors import PeerFault, TransactionRejected
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.proofcheck import ReceiptVerdict, find_signer_status, verify_proof_file
from tanpo.ledger.prooffile import ReceiptFile
from tanpo.ledger.prooftrail import LinkBroken
from tanpo.ledger.standing import verify_owners
from tanpo.ledger.statelayout import StateLayout
from tanpo.ledger.transaction import SIGNERS_MAX, Transaction
from tanpo.ledger.types import Height, MemberId, StateRoot
from tanpo.ledger.values import Value
from tanpo.node.pki import create_authority
from tanpo.storage.database import Database
from tanpo.storage.proving import prove_keys
from tanpo.storage.tree import StateTree
from tanpo.testing.chain import MEMBERS
from tanpo.testing.town import Town

NEW = "fund-a"


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """Return a town with a member that no genesis names."""
    made = Town(tmp_path / "store")
    made.open_book(dealer_a=1_000)
    key = made.chain.keys[NEW] = PrivateKey.generate()
    arguments: dict[str, Value] = {
        "member": NEW,
        "name": "Fund A",
        "lei": "",
        "granted": ("participant",),
        "ca_certificate": b"none",
        "keys": (key.public_key.encoded,),
    }
    assert made.call("members", "admit", arguments, *MEMBERS).succeeded
    yield made
    made.chain.close()


def move(town: Town, *members: str) -> Transaction:
    arguments: dict[str, Value] = {
        "deliverer": members[0],
        "receiver": "dealer-b",
        "instrument": "yen",
        "quantity": 1,
    }
    return town.chain.make_transaction("instruments", "transfer", arguments, *members)


def export(town: Town, transaction: Transaction) -> ReceiptFile:
    return town.run(exporting.receipt_file(town.context, transaction.tx_id))


def check(town: Town, file: ReceiptFile) -> ReceiptVerdict:
    verdict = verify_proof_file(file, town.chain.genesis)
    assert isinstance(verdict, ReceiptVerdict)
    return verdict


def test_a_key_of_a_member_that_was_admitted_is_proved_by_the_state(town: Town) -> None:
    admitted = town.chain.execution.store.executed_height
    transaction = move(town, NEW, "dealer-a")
    town.chain.run(transaction)
    town.chain.run()
    verdict = check(town, export(town, transaction))
    (status,) = [one for one in verdict.signers if one.member == NEW]
    assert status.key_id == town.chain.keys[NEW].key_id
    assert status.registered_height == admitted
    words = "\n".join(describe_verdict(verdict, town.chain.genesis))
    assert f"of {NEW}, registered since block {admitted}" in words
    assert f"{NEW} was a member with the roles participant" in words


def test_a_key_that_is_removed_later_or_in_the_same_block_is_proved_for_its_blocks(town: Town) -> None:
    old, new = town.chain.keys["dealer-a"], PrivateKey.generate()
    added: dict[str, Value] = {"member": "dealer-a", "key": new.public_key.encoded}
    town.call("members", "add_key", added, "dealer-a")
    removed: dict[str, Value] = {"member": "dealer-a", "key": old.public_key.encoded}
    transaction = move(town, "dealer-a")
    town.chain.run(town.chain.make_transaction("members", "remove_key", removed, "dealer-a"), transaction)
    town.chain.keys["dealer-a"] = new
    later = move(town, "dealer-a")
    town.chain.run(later)
    town.chain.run()
    for one, key in ((transaction, old), (later, new)):
        (status,) = check(town, export(town, one)).signers
        assert (status.key_id, status.member) == (key.key_id, "dealer-a")


def test_nobody_else_can_be_said_to_have_signed(town: Town) -> None:
    transaction = move(town, NEW)
    town.chain.run(transaction)
    town.chain.run()
    file = export(town, transaction)
    (status,) = file.signers
    for changed in (
        replace(status, member=MemberId(MEMBERS[0])),
        replace(status, registered_height=0),
    ):
        with pytest.raises(LinkBroken, match="signers"):
            check(town, replace(file, signers=(changed,)))
    other = PrivateKey.generate().public_key.encoded
    with pytest.raises(LinkBroken, match="signatures"):
        check(town, replace(file, signers=(replace(status, public_key=other),)))
    with pytest.raises(LinkBroken, match="signers"):
        check(town, replace(file, standing=None))


def test_a_receipt_proves_the_ca_of_its_height_and_not_that_of_the_genesis(town: Town) -> None:
    authority = create_authority(MemberId("dealer-a"), "test")
    changed: dict[str, Value] = {"member": "dealer-a", "ca_certificates": (authority.certificate_pem,)}
    transaction, later = move(town, "dealer-a"), move(town, "dealer-a", NEW)
    town.chain.run(transaction)
    assert town.call("members", "replace_authority", changed, "dealer-a").succeeded
    replaced = town.chain.execution.store.executed_height
    town.chain.run(later)
    town.chain.run()

    before, after = (check(town, export(town, one)) for one in (transaction, later))

    assert before.standing is not None
    assert after.standing is not None
    assert [one.added for one in before.standing[0].authorities] == [0]
    (held,) = after.standing[0].authorities
    assert held.added == replaced
    assert held.certificate is not None
    assert held.certificate[0] == authority.certificate.fingerprint(hashes.SHA256())
    newcomer = after.standing[1]
    assert (newcomer.member, newcomer.name, len(newcomer.authorities)) == (NEW, "Fund A", 1)
    words = "\n".join(describe_verdict(after, town.chain.genesis))
    assert (
        f"A CA of dealer-a, since block {replaced}, had the certificate {held.certificate[0].hex()}" in words
    )
    assert "not valid then" in words  # The chain's time is before the CA was made.


def test_a_receipt_of_as_many_signers_as_there_may_be_is_proved(town: Town) -> None:
    names = list(MEMBERS)
    while len(names) < SIGNERS_MAX:
        member, key = MEMBERS[len(names) % len(MEMBERS)], PrivateKey.generate()
        name = f"{member} {len(names)}"
        town.chain.keys[name] = key
        added: dict[str, Value] = {"member": member, "key": key.public_key.encoded}
        assert town.call("members", "add_key", added, member).succeeded
        names.append(name)
    transaction = move(town, "dealer-a", *(one for one in names if one != "dealer-a"))
    (receipt,) = town.chain.run(transaction)
    town.chain.run()

    verdict = check(town, export(town, transaction))

    assert (receipt.succeeded, len(verdict.signers)) == (True, SIGNERS_MAX)
    assert verdict.standing is not None
    assert [one.member for one in verdict.standing] == sorted(MEMBERS)


def test_a_member_that_was_dismissed_in_the_block_has_no_ca_any_more(town: Town) -> None:
    transaction = town.chain.make_transaction("members", "dismiss", {"member": NEW}, *MEMBERS, NEW)
    town.chain.run(transaction)
    town.chain.run()
    standing = check(town, export(town, transaction)).standing
    assert standing is not None
    (gone,) = [one for one in standing if one.member == NEW]
    assert (gone.roles, gone.authorities) == (None, ())


def test_another_record_of_a_member_is_refused(town: Town) -> None:
    transaction = move(town, "dealer-a", NEW)
    town.chain.run(transaction)
    town.chain.run()
    file = export(town, transaction)
    assert file.standing is not None
    own, other = file.standing.records
    for records in ((other, own), (own, None), (own,), ()):
        with pytest.raises(LinkBroken, match="standing"):
            check(town, replace(file, standing=replace(file.standing, records=records)))


def test_a_standing_without_the_keys_that_signed_is_refused(town: Town) -> None:
    transaction = move(town, "dealer-a")
    town.chain.run(transaction)
    town.chain.run()
    file = export(town, transaction)
    assert file.standing is not None
    with pytest.raises(LinkBroken, match="standing"):
        check(town, replace(file, standing=replace(file.standing, owners=())))
    with pytest.raises(LinkBroken, match="standing"):
        check(town, replace(file, standing=replace(file.standing, owners=(b"\0",))))


def prove_state(folder: Path, state: dict[bytes, bytes]) -> tuple[StateRoot, bytes]:
    """The root of a state, and the partial tree that shows all of it."""
    folder.mkdir()
    database = Database.open(folder, remedy="none", cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
    tree = StateTree.open(database, window=1, cache_records=0)
    plan = tree.begin(Height(0), state)
    puts: dict[bytes, bytes] = {}
    tree.stage(plan, puts, [])
    database.write(puts, [])
    proof = prove_keys(tree.source, Height(0), list(state))
    tree.close()
    database.close()
    return plan.state_root, proof


def test_another_key_under_the_id_of_one_that_signed_is_refused(town: Town, tmp_path: Path) -> None:
    """Only a contract that keeps keys under ids not their own could show such a state: here it is made up."""
    transaction = move(town, "dealer-a")
    town.chain.run(transaction)
    town.chain.run()
    standing = export(town, transaction).standing
    assert standing is not None
    (key_id,) = transaction.signers
    layout = StateLayout.decode("members", standing.contract_entry)
    other = PrivateKey.generate().public_key.encoded
    (own,) = standing.owners
    swapped = own.replace(town.chain.keys["dealer-a"].public_key.encoded, other)
    assert swapped != own
    for owner, is_refused in ((own, False), (swapped, True)):
        root, partial_tree = prove_state(
            tmp_path / f"refused-{is_refused}",
            {
                compute_contract_key("members"): standing.contract_entry,
                layout.spell_key("owners", key_id): owner,
            },
        )
        shown = replace(standing, owners=(owner,), partial_tree=partial_tree)
        if is_refused:
            with pytest.raises(PeerFault, match="keeps another key under this id"):
                verify_owners(shown, (key_id,), Height(9), root)
        else:
            assert [one.member for one in verify_owners(shown, (key_id,), Height(9), root)] == ["dealer-a"]


def test_a_key_signed_nothing_in_the_block_that_added_it_nor_above_the_one_that_removed_it(
    town: Town,
) -> None:
    added = town.chain.execution.store.executed_height
    vote: dict[str, Value] = {"member": NEW}
    transaction = town.chain.make_transaction("members", "dismiss", vote, *MEMBERS, NEW)
    town.chain.run(move(town, NEW))
    town.chain.run(transaction)
    removed = town.chain.execution.store.executed_height
    town.chain.run()
    file = export(town, transaction)
    assert file.standing is not None
    root = check(town, file).certification.header.state_root
    for height in (added + 1, removed):
        owners = verify_owners(file.standing, transaction.signers, Height(height), root)
        assert NEW in {one.member for one in owners}
    for height in (added, removed + 1):
        with pytest.raises(PeerFault, match="did not count in this block"):
            verify_owners(file.standing, transaction.signers, Height(height), root)


def test_the_genesis_alone_knows_no_key_that_came_later(town: Town) -> None:
    with pytest.raises(TransactionRejected, match="the genesis registers no such key"):
        find_signer_status(town.chain.genesis, town.chain.keys[NEW].key_id)
