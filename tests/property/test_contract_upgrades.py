"""Upgrades of random contracts: what is let through changes nothing for those who use it."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tanpo.ledger.plans import ContractPlan
from tanpo.node.contract_sets import Programs
from tanpo.node.installing import EmptyState, Installation, InstallationRefused, install
from tanpo.node.versions import InstalledContracts, load_contracts
from tanpo.storage import Overlay
from tanpo.vm import CallContext, ContractRefused, compile_contract

TYPES = ("int", "str", "bool", "list[int]", "tuple[int, str]")
CONTEXT = CallContext(sender="", signers=(), time_ms=1, height=1, tx_id=bytes(32))
PROGRAMS = Programs()
VALUES = {"int": "7", "str": '"x"', "bool": "True", "list[int]": "[1, 2]", "tuple[int, str]": '(1, "x")'}


@dataclass(frozen=True)
class Shape:
    """A contract `base`: its variables, its record, and two functions."""

    slots: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, str], ...]
    record: str
    returns: str
    is_entry: bool
    has_second: bool

    def spell(self) -> str:
        """Return the source. Every variable is written at the installation, and read back by a view."""
        lines = ["@record", f"class {self.record}:"]
        lines += [f"    {name}: {kind}" for name, kind in self.fields]
        lines += [f"{name}: {kind}" for name, kind in self.slots]
        lines += ["@init", "def setup() -> None:"]
        lines += [f"    {name} = {VALUES[kind]}" for name, kind in self.slots] or ["    pass"]
        lines += ["@entry" if self.is_entry else "@view", f"def first(x: int) -> {self.returns}:"]
        lines += [f"    return {VALUES[self.returns]}"]
        if self.has_second:
            lines += ["@view", f"def second(r: {self.record}) -> int:", "    return 1"]
        for name, kind in self.slots:
            lines += ["@view", f"def read_{name}() -> {kind}:", f"    return {name}"]
        return "\n".join(lines) + "\n"


names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True).map(sorted)
variables = st.lists(st.sampled_from("pqst"), max_size=3, unique=True).map(sorted)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    return Shape(
        slots=tuple((name, draw(st.sampled_from(TYPES))) for name in draw(variables)),
        fields=tuple((name, draw(st.sampled_from(("int", "str")))) for name in draw(names)),
        record=draw(st.sampled_from(("Note", "Note", "Slip"))),
        returns=draw(st.sampled_from(("int", "int", "str"))),
        is_entry=draw(st.booleans()),
        has_second=draw(st.sampled_from((True, True, False))),
    )


USES = ("nothing", "first", "second", "record", "slot")


def spell_user(shape: Shape, use: str) -> str:
    """Return a contract that uses one thing of `base`."""
    given = ", ".join(f"{name}={VALUES[kind]}" for name, kind in shape.fields)
    body = {
        "first": "    found = base.first(1)\n",
        "second": f"    found = base.second(base.{shape.record}({given}))\n",
        "record": f"    found = base.{shape.record}({given})\n",
        "slot": f"    kept = [base.{shape.record}({given})]\n",
    }
    state = f"kept: list[base.{shape.record}]\n" if use == "slot" else ""
    head = f'base: Contract["base"]\n{state}@entry\ndef act() -> int:\n'
    return head + body.get(use, "") + "    return 1\n"


def try_put(contracts: InstalledContracts, state: Overlay, source: str) -> Installation | InstallationRefused:
    """Put a source of `base` in force, or return why it may not be."""
    try:
        return put(contracts, state, "base", source)
    except InstallationRefused as refused:
        return refused


def put(contracts: InstalledContracts, state: Overlay, name: str, source: str) -> Installation:
    """Put a source in force, and its changes into the state."""
    current = contracts.versions.get(name)
    plan = ContractPlan.create(
        name,
        source.encode(),
        language_version=1,
        gas_table_version=1,
        version=current.version + 1 if current else 1,
        replaces=current.source_hash if current else b"",
    )
    done = install(
        plan, source.encode(), (), contracts=contracts, state=state, context=CONTEXT, programs=PROGRAMS
    )
    state.apply(done.changes)
    return done


def compiles_alike(contracts: InstalledContracts, source: str, base: str) -> bool:
    """Return whether the user of another `base` is checked to the same thing."""
    other = compile_contract(base, name="base", interfaces={}).interface
    try:
        return compile_contract(source, name="user", interfaces={"base": other}).unit == (
            contracts.compiled["user"].unit
        )
    except ContractRefused:
        return False


@settings(max_examples=60)
@given(shapes(), shapes(), st.sampled_from(USES))
def test_what_is_let_through_changes_nothing_for_its_users(old: Shape, new: Shape, use: str) -> None:
    if use == "second" and not old.has_second:
        use = "record"
    state = Overlay(EmptyState())
    contracts = put(InstalledContracts(), state, "base", old.spell()).contracts
    user = spell_user(old, use)
    contracts = put(contracts, state, "user", user).contracts
    before = dict(state.changes)
    keeps_state = all(dict(new.slots).get(name, kind) == kind for name, kind in old.slots)
    keeps_users = compiles_alike(contracts, user, new.spell())
    if use == "first":
        # An entry point may call a view as well as an entry point; what one relies on is kept all the same.
        keeps_users &= old.is_entry == new.is_entry
    done = try_put(contracts, state, new.spell())
    event(done.code if isinstance(done, InstallationRefused) else "in force")
    if isinstance(done, InstallationRefused):
        assert dict(state.changes) == before
        if old.spell() == new.spell():
            assert done.code == "SOURCE_UNCHANGED"
        else:
            assert not (keeps_state and keeps_users)
            assert done.code == ("INTERFACE_BROKEN" if keeps_state else "STATE_CHANGED")
        return
    assert keeps_state
    assert keeps_users
    then = done.contracts
    session = then.machine.open_session(state)
    for name, kind in set(old.slots) & set(new.slots):
        found = session.view(Read(entry=f"read_{name}"), CONTEXT, 10_000)
        assert (found.ok, type(found.value).__name__) == (
            True,
            kind.partition("[")[0].replace("list", "tuple"),
        )
    loaded = load_contracts(state, Programs())
    assert loaded.versions == then.versions
    assert {name: one.unit for name, one in loaded.compiled.items()} == {
        name: one.unit for name, one in then.compiled.items()
    }


@dataclass(frozen=True)
class Read:
    """A query of a view of `base` without arguments."""

    entry: str
    contract: str = "base"
    arguments: tuple[()] = ()


@settings(max_examples=40)
@given(st.lists(shapes(), min_size=2, max_size=6))
def test_the_history_of_a_contract_is_a_chain_of_its_versions(versions: list[Shape]) -> None:
    state, contracts, installed = Overlay(EmptyState()), InstalledContracts(), list[str]()
    stored: dict[str, str] = {}
    for shape in versions:
        done = try_put(contracts, state, shape.spell())
        if isinstance(done, InstallationRefused):
            is_broken = any(stored.get(name, kind) != kind for name, kind in shape.slots)
            assert done.code == ("STATE_CHANGED" if is_broken else "SOURCE_UNCHANGED")
            continue
        contracts = done.contracts
        installed.append(shape.spell())
        stored.update(shape.slots)
        assert contracts.versions["base"].layout == stored
    now = contracts.versions["base"]
    assert now.version == len(installed)
    assert load_contracts(state, Programs()).versions == contracts.versions
