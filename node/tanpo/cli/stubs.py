"""The names of the contract dialect as a stub, for editors that read `__builtins__.pyi` beside a source."""

from __future__ import annotations

from keyword import iskeyword
from pathlib import Path
from typing import Final

from tanpo.contracts import PRODUCT_CONTRACTS
from tanpo.ledger.errors import Reason, UsageError

STUBS_FILE: Final = "__builtins__.pyi"

_MARK: Final = '"""Names that contracts know beside those of Python. Written by `tanpo contract stubs`."""\n'
_BODY: Final = """
from collections.abc import Callable
from typing import Any, Generic, Literal, NoReturn, TypeVar, dataclass_transform

_C = TypeVar("_C", bound=Callable[..., object])
_K = TypeVar("_K")
_T = TypeVar("_T")
_V = TypeVar("_V")
_Mode = Literal["DOWN", "UP", "FLOOR", "CEILING", "HALF_UP", "HALF_EVEN"]
_Scalar = int | bool | str | bytes

@dataclass_transform()
def record(cls: type[_T], /) -> type[_T]: ...
def entry(function: _C, /) -> _C: ...
def view(function: _C, /) -> _C: ...
def init(function: _C, /) -> _C: ...
def migrate(function: _C, /) -> _C: ...

class Map(Generic[_K, _V]):
    def __getitem__(self, key: _K, /) -> _V: ...
    def __setitem__(self, key: _K, value: _V, /) -> None: ...
    def __delitem__(self, key: _K, /) -> None: ...
    def __contains__(self, key: _K, /) -> bool: ...
    def get(self, key: _K, default: _V, /) -> _V: ...

class Index(Generic[_K, _V]):
    def add(self, group: _K, member: _V, /) -> None: ...
    def remove(self, group: _K, member: _V, /) -> None: ...
    def contains(self, group: _K, member: _V, /) -> bool: ...
    def first(self, group: _K, limit: int, /) -> list[_V]: ...
    def page(self, group: _K, after: _V, limit: int, /) -> list[_V]: ...

class _Context:
    sender: str
    signers: list[str]
    time: int
    height: int
    tx_id: bytes
    contract: str

ctx: _Context

class Contract(Generic[_T]):
    def __getattr__(self, name: str, /) -> Any: ...

def require(condition: bool, code: str, /, **details: _Scalar) -> None: ...
def abort(code: str, /, **details: _Scalar) -> NoReturn: ...
def emit(name: str, /, **fields: object) -> None: ...
def mul_div(a: int, b: int, c: int, mode: _Mode, /) -> int: ...
def div_round(a: int, b: int, mode: _Mode, /) -> int: ...
def sha256(data: bytes, /) -> bytes: ...
def sha512(data: bytes, /) -> bytes: ...
def sha3_256(data: bytes, /) -> bytes: ...
def verify_p256(key: bytes, message: bytes, signature: bytes, /) -> bool: ...
"""


def spell_stubs(contracts: list[str]) -> str:
    """Return the stub, with a class for each contract that handles may name: `Contract["name"]`.

    Contracts that Python could name no class after, such as `class`, are left out.
    """
    known = {*PRODUCT_CONTRACTS, *contracts}
    names = sorted(name for name in known if name.isidentifier() and not iskeyword(name))
    return _MARK + _BODY + "".join(f"\nclass {name}: ..." for name in names) + "\n"


def save_stubs(folder: Path) -> Path:
    """Write the stub into a folder of contracts, again if it is there, and return its path.

    Raises:
        UsageError: another stub is there, or it cannot be written.
    """
    path = folder / STUBS_FILE
    contracts = [one.stem for one in folder.glob("*.py") if not one.stem.startswith("test_")]
    try:
        if path.exists() and not path.read_text(encoding="utf-8").startswith(_MARK):
            raise UsageError(
                Reason.MISUSE,
                "there is a stub that tanpo has not written, and it is not overwritten",
                value=path,
                remedy="move it away, or write stubs into another folder and copy what you need",
            )
        path.write_text(spell_stubs(contracts), encoding="ascii")
    except OSError as error:
        raise UsageError(
            Reason.CONFIGURATION, f"the stub cannot be written: {error.strerror}", value=path
        ) from None
    return path
