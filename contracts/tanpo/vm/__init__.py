"""The contract VM: checks contracts, and executes their calls the same on every node."""

from tanpo.vm.compiler import CompiledContract, check_contract, compile_contract
from tanpo.vm.engine import Engine
from tanpo.vm.engines import ENGINES
from tanpo.vm.faults import ContractRefused, Fault
from tanpo.vm.interface import EventShape, Function, Interface, Parameter
from tanpo.vm.limits import GAS_LIMIT_DEFAULT, GAS_LIMIT_MAX, LANGUAGE_VERSION
from tanpo.vm.machine import Machine
from tanpo.vm.outcome import CallContext, Outcome, StateReader
from tanpo.vm.session import Session

__all__ = [
    "ENGINES",
    "GAS_LIMIT_DEFAULT",
    "GAS_LIMIT_MAX",
    "LANGUAGE_VERSION",
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
]
