"""The contract VM: checks contracts, and executes their calls the same on every node."""

from tanpo.vm.compatibility import (
    Break,
    describe_changes,
    describe_layout,
    find_function_breaks,
    find_interface_breaks,
    find_layout_breaks,
    find_upgrade_breaks,
)
from tanpo.vm.compiler import CompiledContract, check_contract, compile_contract
from tanpo.vm.dependencies import compile_in_order, find_ways_back, sort_by_handles
from tanpo.vm.engine import Engine
from tanpo.vm.engines import ENGINES
from tanpo.vm.faults import ContractRefused, Fault, list_places
from tanpo.vm.interface import EventShape, Function, Interface, Parameter
from tanpo.vm.limits import (
    GAS_LIMIT_MAX,
    GAS_TABLE_VERSION,
    LANGUAGE_VERSION,
    SOURCE_BYTES_MAX,
)
from tanpo.vm.machine import Machine
from tanpo.vm.outcome import CallContext, Outcome, StateReader
from tanpo.vm.session import Session

__all__ = [
    "ENGINES",
    "GAS_LIMIT_MAX",
    "GAS_TABLE_VERSION",
    "LANGUAGE_VERSION",
    "SOURCE_BYTES_MAX",
    "Break",
    "CallContext",
    "CompiledContract",
    "ContractRefused",
    "Engine",
    "EventShape",
    "Fault",
    "Function",
    "Interface",
    "Machine",
    "Outcome",
    "Parameter",
    "Session",
    "StateReader",
    "check_contract",
    "compile_contract",
    "compile_in_order",
    "describe_changes",
    "describe_layout",
    "find_function_breaks",
    "find_interface_breaks",
    "find_layout_breaks",
    "find_upgrade_breaks",
    "find_ways_back",
    "list_places",
    "sort_by_handles",
]
