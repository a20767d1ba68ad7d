"""Ports for a local network are free when chosen, and two networks never choose the same ones."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest
from tanpo.cli.ports import LOOPBACK, SLOT_PORTS, check_ports, claim_slot, is_free
from tanpo.ledger.errors import Reason, UsageError


def test_a_claimed_slot_is_free_and_no_other_claim_gets_it() -> None:
    with ExitStack() as claims:
        slots = []
        for _ in range(60):
            # So many of the slots that are there that a claim which holds nothing would be met again.
            slots.append(claim_slot(2))
            claims.callback(slots[-1].release)
        assert len({slot.base for slot in slots}) == len(slots)
        assert all(is_free(slot.base + offset) for slot in slots for offset in range(2))


def test_slots_do_not_overlap() -> None:
    first, second = claim_slot(1), claim_slot(1)
    assert abs(first.base - second.base) >= SLOT_PORTS
    first.release()
    second.release()


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(UsageError) as refused:
            check_ports(port, 1)
    assert refused.value.value == f"{LOOPBACK}:{port}"
    assert "--base-port" in refused.value.remedy


@pytest.mark.parametrize("base", [0, 80, 65_530, 70_000])
def test_ports_out_of_range_are_refused(base: int) -> None:
    with pytest.raises(UsageError) as refused:
        check_ports(base, 12)
    assert refused.value.reason is Reason.CONFIGURATION
    assert refused.value.limit == "1024..65535"
