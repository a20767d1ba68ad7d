"""What every test run shares: Hypothesis never measures time, and shows what it tried when it fails; and what
a test starts can be interrupted, also when the tests run in the background."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tanpo", deadline=None, print_blob=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tanpo")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what it starts in the background ignore Ctrl-C, and what is ignored stays so across a start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
