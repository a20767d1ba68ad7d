"""What every test run shares: Hypothesis never measures time, and shows what it tried when it fails."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tanpo", deadline=None, print_blob=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tanpo")
