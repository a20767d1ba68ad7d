"""What a node says of the files that hold its secrets."""

from __future__ import annotations

import pytest
from tanpo.node.credentials import is_open_to_others

ROOT, NODE, OTHER = 0, 10001, 1000


@pytest.mark.parametrize(
    ("mode", "owner", "reader", "expected"),
    [
        (0o600, NODE, NODE, False),
        (0o400, ROOT, ROOT, False),
        (0o440, ROOT, NODE, False),  # as Kubernetes mounts a secret for the group of the pod
        (0o640, ROOT, NODE, False),
        (0o640, NODE, NODE, True),
        (0o640, OTHER, NODE, True),
        (0o640, ROOT, ROOT, True),
        (0o660, ROOT, NODE, True),
        (0o444, ROOT, NODE, True),
        (0o601, NODE, NODE, True),
    ],
)
def test_a_key_that_others_may_read_is_told_from_one_that_an_orchestrator_mounts(
    mode: int, owner: int, reader: int, expected: bool
) -> None:
    assert is_open_to_others(0o100000 | mode, owner=owner, reader=reader) is expected
