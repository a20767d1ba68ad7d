"""Events over real gRPC: each once, in order, across lost connections, from a checkpoint on."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from tanpo.client import AsyncClient, Checkpoint, Client, ClientConfig, LedgerEvent, Unreachable
from tanpo.ledger.errors import PeerFault, UsageError

MakeConfig = Callable[..., ClientConfig]


def commit(chain: Any, *counts: int) -> None:
    """Commit one block of so many events each."""
    for count in counts:
        chain.submit(chain.envelope(request_id=f"e{chain.height}", count=count).encoded)


def take(client: Client, count: int, **options: Any) -> list[LedgerEvent]:
    return list(itertools.islice(client.events(**options), count))


def positions(events: list[LedgerEvent]) -> list[tuple[int, int]]:
    return [(event.height, event.index) for event in events]


def test_events_come_in_order_with_their_fields(client: Client, chain: Any) -> None:
    commit(chain, 2, 1)

    events = take(client, 3)

    assert positions(events) == [(1, 0), (1, 1), (2, 0)]
    assert (events[0].contract, events[0].name, dict(events[0].fields)) == ("notes", "Written", {"text": "x"})
    assert events[2].tx_id == chain.receipts[1][0].tx_id


async def test_both_clients_follow_alike(make_config: MakeConfig, chain: Any) -> None:
    commit(chain, 1)
    async with AsyncClient(make_config()) as client:
        events = client.events()
        first = await anext(events)
        commit(chain, 1)
        second = await anext(events)

    assert positions([first, second]) == [(1, 0), (2, 0)]


def test_a_reader_resumes_after_the_event_it_saved(client: Client, chain: Any) -> None:
    commit(chain, 3, 1)
    first = take(client, 2)

    rest = take(client, 2, checkpoint=first[-1].checkpoint)

    assert positions(first + rest) == [(1, 0), (1, 1), (1, 2), (2, 0)]
    assert first[-1].checkpoint == Checkpoint(height=1, index=2)


def test_a_lost_connection_repeats_and_skips_nothing(client: Client, chain: Any, node: Any) -> None:
    def breaking(batch: Any, context: Any, honest: Any) -> Any:
        context.abort(grpc.StatusCode.UNAVAILABLE, "lost")

    commit(chain, 2, 2, 2)
    node.faults["StreamEvents"] += [lambda batch, *_: batch, breaking, lambda batch, *_: batch, breaking]

    events = take(client, 6)

    assert positions(events) == [(h, i) for h in (1, 2, 3) for i in (0, 1)]
    assert [request.from_height for request in node.stream_requests] == [0, 2, 3]


def test_a_restarted_node_is_followed_again(client: Client, chain: Any, node: Any) -> None:
    commit(chain, 1)
    events = client.events()
    first = next(events)
    node.stop()
    starter = threading.Thread(target=node.start)
    starter.start()
    commit(chain, 1)

    second = next(events)
    starter.join()

    assert positions([first, second]) == [(1, 0), (2, 0)]


def test_another_node_takes_over(make_config: MakeConfig, chain: Any, node: Any, other_node: Any) -> None:
    commit(chain, 1)
    with Client(make_config(node.address, other_node.address)) as client:
        events = client.events()
        first = next(events)
        node.stop()
        commit(chain, 1)
        second = next(events)

    assert positions([first, second]) == [(1, 0), (2, 0)]
    assert [request.from_height for request in other_node.stream_requests] == [2]


def test_a_reader_gives_up_when_no_node_comes_back(client: Client, chain: Any, node: Any) -> None:
    commit(chain, 1)
    events = client.events(reconnect_for_s=0.2)
    next(events)
    node.stop()

    with pytest.raises(Unreachable):
        next(events)


def _lie(**fields: Any) -> Callable[..., Any]:
    def fault(batch: Any, context: Any, honest: Any) -> Any:
        for name, value in fields.items():
            setattr(batch.events[0] if name in ("index", "contract", "fields") else batch, name, value)
        return batch

    return fault


@pytest.mark.parametrize(
    "fields",
    [{"height": 1}, {"next_height": 99}, {"next_height": 2}, {"fields": b"?"}, {"contract": "other"}],
    ids=["repeats", "skips ahead", "goes back", "garbage", "not asked for"],
)
def test_a_lying_stream_is_refused(client: Client, chain: Any, node: Any, fields: Any) -> None:
    commit(chain, 1, 1)
    node.faults["StreamEvents"] += [lambda batch, *_: batch, _lie(**fields)]
    events = client.events(["notes"])
    next(events)

    with pytest.raises(PeerFault):
        next(events)


def test_a_lying_stream_is_left_for_an_honest_one(
    make_config: MakeConfig, chain: Any, node: Any, other_node: Any
) -> None:
    commit(chain, 1, 1)
    node.faults["StreamEvents"] += [lambda batch, *_: batch, _lie(height=1)]
    with Client(make_config(node.address, other_node.address)) as client:
        assert positions(take(client, 2)) == [(1, 0), (2, 0)]


async def test_a_cancelled_reader_stops(make_config: MakeConfig, chain: Any) -> None:
    commit(chain, 1)
    async with AsyncClient(make_config()) as client:
        events = client.events()
        await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_closing_the_client_ends_its_readers(make_config: MakeConfig, chain: Any) -> None:
    commit(chain, 1)
    client = AsyncClient(make_config())
    events = client.events()
    await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await client.close()

    with pytest.raises(UsageError, match="closed"):
        await waiting
