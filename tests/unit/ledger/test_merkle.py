from __future__ import annotations

from dataclasses import replace

import pytest
from tanpo.ledger import (
    MerkleRoot,
    PeerFault,
    Reason,
    UsageError,
    compute_merkle_root,
    prove_leaf,
    verify_leaf,
)

SIZES = range(1, 41)


def make_leaves(count: int) -> list[bytes]:
    return [f"leaf {index}".encode() for index in range(count)]


@pytest.mark.parametrize("count", SIZES)
def test_every_leaf_of_a_tree_is_proved(count: int) -> None:
    leaves = make_leaves(count)
    root = compute_merkle_root(leaves)

    for index, leaf in enumerate(leaves):
        verify_leaf(root, leaf, prove_leaf(leaves, index))


@pytest.mark.parametrize("count", SIZES)
def test_proof_shows_no_other_leaf_and_no_other_position(count: int) -> None:
    leaves = make_leaves(count)
    root = compute_merkle_root(leaves)

    for index in range(count):
        proof = prove_leaf(leaves, index)
        with pytest.raises(PeerFault):
            verify_leaf(root, b"another leaf", proof)
        for other in range(count):
            if other != index:
                with pytest.raises(PeerFault):
                    verify_leaf(root, leaves[index], replace(proof, index=other))


@pytest.mark.parametrize("count", range(2, 20))
def test_proof_with_a_changed_missing_or_extra_sibling_is_refused(count: int) -> None:
    leaves = make_leaves(count)
    root = compute_merkle_root(leaves)
    proof = prove_leaf(leaves, count - 1)
    broken = [proof.siblings[:-1], proof.siblings[1:], (*proof.siblings, bytes(32))]
    for position, sibling in enumerate(proof.siblings):
        changed = bytes([sibling[0] ^ 1]) + sibling[1:]
        broken.append((*proof.siblings[:position], changed, *proof.siblings[position + 1 :]))

    for siblings in broken:
        with pytest.raises(PeerFault) as caught:
            verify_leaf(root, leaves[-1], replace(proof, siblings=siblings))
        assert caught.value.reason is Reason.PROOF_INVALID


def test_roots_of_all_sizes_differ() -> None:
    assert len({compute_merkle_root(make_leaves(count)) for count in range(41)}) == 41


def test_order_of_leaves_matters() -> None:
    assert compute_merkle_root([b"a", b"b"]) != compute_merkle_root([b"b", b"a"])


def test_inner_node_cannot_pass_for_a_leaf() -> None:
    left, right = (compute_merkle_root([leaf]) for leaf in (b"a", b"b"))

    assert compute_merkle_root([left + right]) != compute_merkle_root([b"a", b"b"])


@pytest.mark.parametrize(("index", "leaf_count"), [(-1, 3), (3, 3), (0, 0)])
def test_proof_of_a_position_outside_the_leaves_is_refused(index: int, leaf_count: int) -> None:
    proof = replace(prove_leaf(make_leaves(3), 0), index=index, leaf_count=leaf_count)

    with pytest.raises(PeerFault, match="outside"):
        verify_leaf(compute_merkle_root(make_leaves(3)), b"leaf 0", proof)


def test_proof_against_another_root_is_refused() -> None:
    with pytest.raises(PeerFault, match="another root"):
        verify_leaf(MerkleRoot(bytes(32)), b"leaf 0", prove_leaf(make_leaves(3), 0))


@pytest.mark.parametrize("index", [-1, 3])
def test_nothing_is_proved_outside_the_leaves(index: int) -> None:
    with pytest.raises(UsageError) as caught:
        prove_leaf(make_leaves(3), index)

    assert (caught.value.value, caught.value.limit) == (str(index), "0..2")
