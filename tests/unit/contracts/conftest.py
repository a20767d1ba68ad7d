"""A market for every test of the product's contracts."""

from __future__ import annotations

import pytest
from tanpo.testing import Market


@pytest.fixture
def market() -> Market:
    """Members with roles, and instruments that nobody holds yet."""
    market = Market()
    market.define_all()
    return market
