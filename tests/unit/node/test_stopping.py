"""A process that was asked to end knows it, whoever heard the signal before."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from tanpo.node.stopping import Stopped, StopRequest


def test_a_signal_is_heard_again_after_a_loop_heard_them() -> None:
    request = StopRequest()

    async def serve() -> None:
        heard = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, heard.set)
        os.kill(os.getpid(), signal.SIGTERM)
        await heard.wait()
        assert not request.is_asked
        request.listen()
        os.kill(os.getpid(), signal.SIGTERM)

    former = signal.getsignal(signal.SIGTERM)
    with request.caught():
        asyncio.run(serve())
        with pytest.raises(Stopped):
            request.check()
    assert signal.getsignal(signal.SIGTERM) == former
