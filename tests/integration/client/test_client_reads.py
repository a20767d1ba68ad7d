"""Reading over real gRPC: what can be proved is proved, what is wrong is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest
from tanpo.api.v1 import network_pb2
from tanpo.client import (
    AsyncClient,
    Client,
    ClientConfig,
    NodeFailed,
    load_genesis,
    load_proof,
    save_proof,
    verify_proof,
)
from tanpo.ledger.block import encode_header, read_header
from tanpo.ledger.codec import Reader
from tanpo.ledger.errors import PeerFault, Reason, TransactionRejected, Unavailable, UsageError
from tanpo.ledger.evidence import encode_evidence
from tanpo.ledger.membership import list_genesis_members
from tanpo.ledger.receipt import decode_receipt, encode_receipt
from tanpo.ledger.types import Epoch, TxId
from tanpo.node.status import build_internal_status
from tanpo.testing.accusation import make_double_vote

MakeConfig = Callable[..., ClientConfig]


@pytest.fixture
def tx_id(client: Client, chain: Any) -> TxId:
    """The second transaction of three in block 1, certified by block 2 and final with block 3."""
    results = client.submit_envelope(chain.envelope(count=3))
    chain.seal()
    chain.seal()
    return results[1].tx_id


def test_a_proof_is_verified_against_the_genesis_alone(client: Client, tx_id: TxId, chain: Any) -> None:
    verified = client.chain.prove(tx_id)

    assert verified.receipt.tx_id == tx_id
    assert verified.receipt.succeeded
    assert verified.block_hash == chain.blocks[0].block_hash
    assert verified.certified_by.height == 2


async def test_both_clients_prove_alike(make_config: MakeConfig, client: Client, tx_id: TxId) -> None:
    async with AsyncClient(make_config()) as other:
        assert await other.chain.prove(tx_id) == client.chain.prove(tx_id)


def test_a_saved_proof_convinces_without_any_node(
    client: Client, tx_id: TxId, genesis_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "proof.json"
    save_proof(path, client.chain.prove(tx_id).proof)

    assert verify_proof(load_proof(path), tx_id, load_genesis(genesis_file)).receipt.tx_id == tx_id


def test_a_proof_is_waited_for_until_the_next_block(client: Client, chain: Any, node: Any) -> None:
    result = client.submit("notes", "write", {"text": "x"})

    def seal_meanwhile(request: Any, context: Any, honest: Any) -> Any:
        chain.seal()
        raise Unavailable(Reason.NOT_FOUND, "not certified yet")

    node.faults["GetProof"].append(seal_meanwhile)

    assert client.chain.prove(result.tx_id).receipt == result.receipt


def forge_receipt(response: Any) -> None:
    receipt = decode_receipt(response.receipt)
    response.receipt = encode_receipt(type(receipt)(**{**_fields(receipt), "gas_used": 1}))


def _fields(receipt: Any) -> dict[str, Any]:
    return {name: getattr(receipt, name) for name in receipt.__dataclass_fields__}


def drop_descendant(response: Any) -> None:
    del response.descendants[0]


def drop_sibling(response: Any) -> None:
    del response.siblings[0]


def forge_header(response: Any) -> None:
    response.header = response.header[:-1] + bytes([response.header[-1] ^ 1])


def forge_vote(response: Any) -> None:
    proof = bytearray(response.commit_proof)
    proof[-5] ^= 1
    response.commit_proof = bytes(proof)


def other_leaf(response: Any) -> None:
    response.index = 0


def garbage(response: Any) -> None:
    response.commit_proof = b"garbage"


def shorten_height(response: Any) -> None:
    response.header, response.descendants[0] = response.descendants[0], response.header


@pytest.mark.parametrize(
    "lie",
    [
        forge_receipt,
        drop_descendant,
        drop_sibling,
        forge_header,
        forge_vote,
        other_leaf,
        garbage,
        shorten_height,
    ],
)
def test_a_wrong_proof_is_refused(client: Client, tx_id: TxId, node: Any, lie: Callable[[Any], None]) -> None:
    def fault(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request, context)
        lie(response)
        return response

    node.faults["GetProof"].append(fault)

    with pytest.raises(PeerFault):
        client.chain.prove(tx_id)


def test_a_proof_of_a_later_epoch_names_the_epoch(client: Client, tx_id: TxId, node: Any) -> None:
    def move(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request, context)
        reader = Reader(response.header)
        response.header = encode_header(replace(read_header(reader), epoch=Epoch(3)))
        return response

    node.faults["GetProof"].append(move)

    with pytest.raises(PeerFault, match="an epoch whose validators it does not prove") as caught:
        client.chain.prove(tx_id)
    assert caught.value.reason is Reason.EPOCH_UNKNOWN


def test_the_proof_of_another_transaction_is_refused(
    client: Client, tx_id: TxId, node: Any, chain: Any
) -> None:
    other = chain.receipts[0][0].tx_id
    node.faults["GetProof"].append(lambda request, context, honest: chain.prove(other))

    with pytest.raises(PeerFault, match="another transaction") as caught:
        client.chain.prove(tx_id)
    assert caught.value.reason is Reason.PROOF_INVALID


def test_too_few_votes_prove_nothing(client: Client, tx_id: TxId, chain: Any) -> None:
    keys, chain.validator_keys = chain.validator_keys, chain.validator_keys[:2]
    try:
        with pytest.raises(PeerFault, match="too few signers"):
            client.chain.prove(tx_id)
    finally:
        chain.validator_keys = keys


def test_a_block_is_verified_and_decoded(client: Client, tx_id: TxId, chain: Any) -> None:
    block = client.chain.block(1)

    assert (block.height, block.block_hash) == (1, chain.blocks[0].block_hash)
    assert block.transactions[1].tx_id == block.receipts[1].tx_id == tx_id
    assert client.chain.block().height == 3


@pytest.mark.parametrize("field", ["block", "commit_proof", "receipts", "height"])
def test_a_wrong_block_is_refused(client: Client, tx_id: TxId, node: Any, field: str) -> None:
    def mix(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request, context)
        request.height = 2
        other = honest(request, context)
        if field == "receipts":
            del response.receipts[0]
        else:
            setattr(response, field, getattr(other, field))
        return response

    node.faults["GetBlock"].append(mix)

    with pytest.raises(PeerFault):
        client.chain.block(1)


def test_transactions_and_receipts_are_found_by_id(client: Client, tx_id: TxId) -> None:
    found = client.chain.transaction(tx_id)

    assert found.transaction.tx_id == tx_id
    assert (found.height, found.index, found.position) == (1, 1, 1)
    assert client.chain.receipt(tx_id).index == 1


def test_another_transaction_than_asked_for_is_refused(client: Client, tx_id: TxId, node: Any) -> None:
    def shift(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request, context)
        response.position = 0
        return response

    node.faults["GetTransaction"].append(shift)
    with pytest.raises(PeerFault, match="another transaction"):
        client.chain.transaction(tx_id)


def test_an_unknown_transaction_is_not_found(client: Client) -> None:
    with pytest.raises(TransactionRejected) as caught:
        client.chain.receipt(TxId(bytes(32)))
    assert caught.value.reason is Reason.NOT_FOUND


def test_a_wrong_id_is_refused_before_it_is_sent(client: Client, node: Any) -> None:
    node.stop()
    with pytest.raises(TransactionRejected, match="wrong length"):
        client.chain.receipt(TxId(b"short"))
    with pytest.raises(TransactionRejected, match="out of range"):
        client.chain.block(-1)


def test_transactions_of_a_member_are_listed_page_by_page(client: Client) -> None:
    first = client.chain.transactions_of("alpha", limit=4)
    second = client.chain.transactions_of("alpha", first.positions[-1], limit=9)

    assert [one.height for one in (*first.positions, *second.positions)] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert first.positions[0].tx_id == bytes([9]) * 32
    with pytest.raises(UsageError, match="so many transactions are not listed at once"):
        client.chain.transactions_of("alpha", limit=1_001)


def test_views_take_named_arguments_of_any_name(client: Client) -> None:
    result = client.query("notes", "read", view="v", contract="c", height=3)

    assert result.value == {"view": "v", "contract": "c", "height": 3} | {"view": "v"}
    assert client.chain.query_at(0, "notes", "read", {"text": "x"}).value == {"view": "read", "text": "x"}


def test_a_fraction_never_reaches_a_view(client: Client) -> None:
    with pytest.raises(TransactionRejected, match="float"):
        client.query("notes", "read", amount=1.5)  # type: ignore[arg-type]  # what a caller may try


def test_the_network_is_described(client: Client, chain: Any) -> None:
    status = client.network.status()
    validators = client.network.validators()

    assert (status.member, status.node, status.is_ready) == ("alpha", "n1", True)
    assert client.network.members() == list_genesis_members(chain.genesis)
    assert (validators.validators, validators.quorum) == (chain.genesis.validators, 3)
    assert client.network.parameters() == chain.genesis.parameters
    assert client.network.contracts()[0].interface == {"entries": []}


def test_a_version_of_a_contract_has_the_hash_of_its_source(client: Client) -> None:
    found = client.network.contract_source("notes", 1)

    assert (found.name, found.version, found.height, found.source) == ("notes", 1, 7, "x = 1\n")
    assert found.source_hash == sha256(b"x = 1\n").digest()
    assert client.network.contract_source("notes").version == 2


def test_another_contract_than_the_one_asked_for_is_a_lie(client: Client) -> None:
    with pytest.raises(PeerFault, match="another version of a contract"):
        client.network.contract_source("lie", 3)


def test_evidence_is_verified_by_the_client_and_a_false_accusation_shows(
    client: Client, node: Any, chain: Any
) -> None:
    truth = encode_evidence(make_double_vote(chain.network_id, chain.validator_keys[1], 1))
    node.evidence += [
        network_pb2.Evidence(accused=accused, kind="double-vote", height=height, evidence=evidence)
        for accused, height, evidence in (
            ("beta/n1", 7, truth),
            ("beta/n1", 0, truth),
            ("gamma/n1", 7, truth),
            ("beta/n1", 7, truth[:-1]),
        )
    ]
    found = client.network.evidence()
    assert [one.is_verified for one in found] == [True, True, False, False]
    assert [one.height for one in found] == [7, None, 7, 7]


def test_evidence_of_a_later_epoch_is_not_called_verified(client: Client, node: Any, chain: Any) -> None:
    later = make_double_vote(chain.network_id, chain.validator_keys[1], 1, epoch=1)
    node.evidence += [
        network_pb2.Evidence(
            epoch=epoch, accused="beta/n1", kind="double-vote", height=7, evidence=encode_evidence(later)
        )
        for epoch in (0, 1)
    ]
    assert [one.is_verified for one in client.network.evidence()] == [False, False]


def test_draining_needs_a_client_of_one_node(client: Client) -> None:
    one_of_two = Client(replace(client.config, addresses=("127.0.0.1:1", "127.0.0.1:2")))
    with one_of_two, pytest.raises(UsageError, match="one node"):
        one_of_two.admin.drain()


def test_a_node_of_another_network_is_noticed(client: Client, node: Any) -> None:
    def other(request: Any, context: Any, honest: Any) -> Any:
        response = honest(request, context)
        response.network_id = bytes(32)
        return response

    node.faults["GetStatus"].append(other)
    with pytest.raises(UsageError) as caught:
        client.network.status()
    assert caught.value.reason is Reason.GENESIS_MISMATCH


def test_an_internal_error_keeps_its_reference(client: Client, node: Any) -> None:
    def fail(request: Any, context: Any, honest: Any) -> Any:
        status = build_internal_status("ref-7")
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.INTERNAL, status.message)

    node.faults["GetStatus"].append(fail)
    with pytest.raises(NodeFailed, match="ref-7"):
        client.network.status()


def test_a_call_the_node_does_not_know_is_explained(client: Client, node: Any) -> None:
    def unknown(request: Any, context: Any, honest: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")

    node.faults["GetStatus"].append(unknown)
    with pytest.raises(UsageError, match="does not know this call"):
        client.network.status()
