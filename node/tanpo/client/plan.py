"""Calls as plans: generators that say which call to make next and learn what came of it, without any I/O.

A plan yields `Attempt` and `Pause`; a driver performs them and sends the answer in, or throws a
`LedgerError`. The synchronous and the asynchronous client differ in the driver alone: what to
retry, where and for how long is decided here, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from secrets import SystemRandom
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from tanpo.client.errors import HandshakeFailed, Unreachable
from tanpo.ledger.errors import LedgerError, PeerFault, Reason, Unavailable

Q = TypeVar("Q")
A = TypeVar("A")
T = TypeVar("T")

_RANDOM: Final = SystemRandom()


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Q, A]):
    """A unary method of one of the services, from a request Q to an answer A."""

    service: Literal["ledger", "network", "admin"]
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Make this call once, to the node at this position among the addresses."""

    rpc: Rpc[Any, Any]
    request: Any
    node: int
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


Step: TypeAlias = Attempt | Pause
Plan: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Delays between attempts: doubling from the first to the longest, each cut by up to half at random.

    `attempt_min_s` is the least time a node gets to answer before another is asked, where there is one.
    """

    delay_first_s: float = 0.05
    delay_max_s: float = 1.0
    attempt_min_s: float = 2.5
    random: Callable[[], float] = field(default=_RANDOM.random, repr=False)

    def compute_delay(self, failures: int) -> float:
        """Return how long to wait after this many failures in a row, from 1 on."""
        # Clients that failed together must not come back together.
        longest = min(self.delay_first_s * 2.0 ** min(failures - 1, 16), self.delay_max_s)
        return longest * (1.0 - self.random() / 2.0)


class Route:
    """Which of the nodes is asked; shared by all calls of one client, so that all leave a dead node."""

    __slots__ = ("count", "current", "now", "policy")

    def __init__(self, count: int, policy: RetryPolicy, now: Callable[[], float] = time.monotonic) -> None:
        self.count = count
        self.policy = policy
        self.now = now
        self.current = 0

    def leave(self, node: int) -> None:
        """Ask the next node from now on, unless another call has left this one already."""
        if self.current == node:
            self.current = (node + 1) % self.count


class Attempts:
    """The attempts at one request: what is left of its deadline, and whether another is worth making."""

    __slots__ = ("_deadline_s", "_ends", "_failures", "_hopeless", "_route", "node")

    def __init__(self, route: Route, deadline_s: float) -> None:
        self._route = route
        self._deadline_s = deadline_s
        self.node = route.current
        self.restart()

    def restart(self) -> None:
        """Forget past failures and begin the deadline anew, because there was progress."""
        self._ends = self._route.now() + self._deadline_s
        self._failures = 0
        self._hopeless = 0

    def choose_node(self) -> int:
        """Return the node to ask now: the one that the route names."""
        self.node = self._route.current
        return self.node

    def next_attempt(self, rpc: Rpc[Any, Any], request: object) -> Attempt:
        """Return the next attempt at a unary call."""
        timeout_s = min(max(self._ends - self._route.now(), 0.0), self.compute_share())
        return Attempt(rpc=rpc, request=request, node=self.choose_node(), timeout_s=timeout_s)

    def compute_share(self) -> float:
        """Return how long one node gets to answer: not all of the deadline where there is another to ask."""
        if self._route.count == 1:
            return self._deadline_s
        return max(self._deadline_s / self._route.count, self._route.policy.attempt_min_s)

    def after_failure(self, error: LedgerError) -> Pause:
        """Return the pause before the next attempt. Raises `error` when there should be none."""
        is_hopeless_here = _is_hopeless_here(error)
        if not (is_hopeless_here or isinstance(error, Unavailable)):
            raise error
        self._failures += 1
        self._route.leave(self.node)
        if is_hopeless_here:
            self._hopeless += 1
            if self._hopeless >= self._route.count:
                raise error
        # Another node is asked at once when this one is not there; an overloaded network gets its rest.
        is_elsewhere = isinstance(error, Unreachable) or is_hopeless_here
        if is_elsewhere and self._failures % self._route.count:
            return Pause(seconds=0.0)
        return self._pause_or_raise(error)

    def after_waiting(self) -> Pause:
        """Return the pause before asking again for what is not decided yet."""
        self._failures += 1
        # It may be cut off from the others without knowing.
        self._route.leave(self.node)
        return self._pause_or_raise(
            Unavailable(Reason.DEADLINE, "the node has not decided yet", remedy="ask again later")
        )

    def _pause_or_raise(self, error: LedgerError) -> Pause:
        pause = Pause(seconds=self._route.policy.compute_delay(self._failures))
        if self._route.now() + pause.seconds >= self._ends:
            raise error
        return pause


def call(route: Route, rpc: Rpc[Q, A], request: Q, read: Callable[[A], T], deadline_s: float) -> Plan[T]:
    """Make a call that changes nothing, on any node that answers, until its deadline.

    Raises:
        LedgerError: the last failure. An answer that `read` refuses counts as one.
    """
    attempts = Attempts(route, deadline_s)
    while True:
        try:
            answer: A = yield attempts.next_attempt(rpc, request)
            return read(answer)
        except LedgerError as error:
            pause = attempts.after_failure(error)
        yield pause


_ELSEWHERE: Final = frozenset({Reason.CALLER_FORBIDDEN, Reason.HEIGHT_PRUNED})


def _is_hopeless_here(error: LedgerError) -> bool:
    """Return whether asking the same node again is pointless, while another may answer."""
    if isinstance(error, Unavailable):
        return not error.retriable
    # A node that does not serve our member refuses us; one of our own takes us.
    # And what one node has pruned, or has never had, another may hold.
    return isinstance(error, PeerFault | HandshakeFailed) or error.reason in _ELSEWHERE
