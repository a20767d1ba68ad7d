"""The package's public names."""

from __future__ import annotations

import tanpo.consensus


def test_every_exported_name_exists_and_the_list_is_sorted() -> None:
    exported = tanpo.consensus.__all__

    assert all(hasattr(tanpo.consensus, name) for name in exported)
    assert exported == sorted(exported)
