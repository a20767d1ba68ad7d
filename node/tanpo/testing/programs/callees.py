"""The contracts that random programs call: some drawn at random, one that calls back, one too deep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tanpo.testing.programs.kinds import INT
from tanpo.testing.programs.model import Contract, Function, Statement
from tanpo.vm.limits import CALL_DEPTH_MAX

CALLEE: Final = "lib"
"""The name under which a program's callee is installed."""

CALLER: Final = "t"
"""The name of the program itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callee:
    """What is installed before a program: contracts in order, the last of which it calls.

    `calls_back` says that they were checked against a program that has `PING`. `is_plain` says that CPython
    means the same by them.
    """

    contracts: tuple[Contract, ...]
    is_plain: bool = False
    calls_back: bool = False

    @property
    def offered(self) -> tuple[Function, ...]:
        """What a program may call."""
        return tuple(one for one in self.contracts[-1].functions if one.kind in ("entry", "view"))


PING: Final = Function(
    name="ping",
    kind="entry",
    parameters=(("n", INT),),
    returns=INT,
    body=[Statement("return n + 1")],
    writes=True,
)
"""What the ring calls back."""

STUB: Final = Contract(name=CALLER, declarations=[], functions=[PING])
"""A program as the ring knows it."""


def build_ring() -> Callee:
    """Return a callee that calls its caller, which the machine must not allow."""
    around = Function(
        name="around",
        kind="entry",
        parameters=(("n", INT),),
        returns=INT,
        body=[
            Statement("", [("if n < 0:", [Statement("return -n")])]),
            Statement("return back.ping(n) + 1"),
        ],
        writes=True,
    )
    ring = Contract(name=CALLEE, declarations=[f'back: Contract["{CALLER}"]'], functions=[around])
    return Callee(contracts=(ring,), calls_back=True)


def build_tower() -> Callee:
    """Return callees that call one another, one more of them than may be active at once."""
    contracts: list[Contract] = []
    for place in range(CALL_DEPTH_MAX):
        is_last = place == CALL_DEPTH_MAX - 1
        below = f'below: Contract["d{place - 1}"]'
        dive = Function(
            name="dive",
            kind="entry",
            parameters=(("n", INT),),
            returns=INT,
            body=[
                Statement("deepest = n"),
                Statement(
                    "", [("if n > 0:", [Statement("return below.dive(n - 1) + 1" if place else "pass")])]
                ),
                Statement("return deepest"),
            ],
            writes=True,
        )
        contracts.append(
            Contract(
                name=CALLEE if is_last else f"d{place}",
                declarations=["deepest: int", *([below] if place else [])],
                functions=[dive],
            )
        )
    return Callee(contracts=tuple(contracts))
