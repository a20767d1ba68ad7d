"""How long a contract of 64 KB takes from source to a machine that can run it, by the shape of its source.

Run it as `python bench/deploy.py [shape...]`; it prints JSON. The shapes are dense in what costs most: the
shortest names, no blanks that are not needed, everything as deep and as often as the limits allow.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from typing import Final

from measuring import best_ns, print_figures
from tanpo.vm import ENGINES, Machine, compile_contract
from tanpo.vm.limits import (
    EXPRESSION_DEPTH_MAX,
    INDENT_DEPTH_MAX,
    RECORD_FIELDS_MAX,
    SOURCE_BYTES_MAX,
    VARIABLES_MAX,
)

RUNS = 3
MAIN: Final = "@entry\ndef main(a:int,b:int,p:bool,s:str)->int:\n"
SUM: Final = "+".join(["a"] * (EXPRESSION_DEPTH_MAX - 1))
WHOLE: Final = MAIN + " return a\n"
PARAMETERS: Final = ",".join(f"x{place}:int" for place in range(40))
NEST: Final = "".join(
    f"@record\nclass R{level}:\n" + "".join(f" f{place}:{kind}\n" for place in range(5))
    for level, kind in enumerate(("int", "R0", "R1"))
)


def fill(head: str, parts: Iterable[str], tail: str = " return a\n") -> str:
    """Return a source as long as it may be, made of as many parts as fit."""
    text, left = [head], SOURCE_BYTES_MAX - len(head) - len(tail)
    for part in parts:
        left -= len(part)
        if left < 0:
            break
        text.append(part)
    return "".join([*text, tail])


def repeat(part: str) -> Iterable[str]:
    """Yield a part with each `#` in it replaced by a number of its own, without end in practice."""
    return (part.replace("#", str(place)) for place in range(SOURCE_BYTES_MAX))


def declare(kind: str, count: int) -> str:
    """Return as many variables of a type."""
    return "".join(f"v{place}:{kind}\n" for place in range(count))


def write_nest() -> Iterable[str]:
    """Yield blocks as deep as they may be."""
    for _ in repeat(""):
        yield "".join(f"{' ' * depth}if p:\n" for depth in range(1, INDENT_DEPTH_MAX))
        yield f"{' ' * INDENT_DEPTH_MAX}a=a\n"


def write_record() -> str:
    """Return a record with as many fields as it may have."""
    return "@record\nclass R#:\n" + "".join(f" f{place}:int\n" for place in range(RECORD_FIELDS_MAX))


SHAPES: Final[dict[str, Callable[[], str]]] = {
    "additions": lambda: fill(MAIN, repeat(f" a={SUM}\n")),
    "additions_one_a_line": lambda: fill(MAIN, repeat(" a=a+a\n")),
    "assignments": lambda: fill(MAIN, repeat(" a=b\n")),
    "new_locals": lambda: fill(MAIN, repeat(" x#=a\n")),
    "products": lambda: fill(MAIN, repeat(f" a={SUM.replace('+', '*')}\n")),
    "divisions": lambda: fill(MAIN, repeat(f" a={SUM.replace('+', '//')}\n")),
    "comparisons": lambda: fill(MAIN, repeat(f" p={SUM.replace('+', '<')}\n")),
    "negations": lambda: fill(MAIN, repeat(f" a={'-' * (EXPRESSION_DEPTH_MAX - 1)}a\n")),
    "conditions": lambda: fill(MAIN, repeat(f" p={'p or ' * 60}p\n")),
    "augmented": lambda: fill(MAIN, repeat(" a+=1\n")),
    "branches": lambda: fill(MAIN, repeat(" if p:a=b\n")),
    "elifs": lambda: fill(MAIN, repeat(" if p:a=b\n" + " elif p:a=b\n" * 40)),
    "loops": lambda: fill(MAIN, repeat(" for i in s:a=b\n")),
    "whiles": lambda: fill(MAIN, repeat(" while p:a=b\n")),
    "nests": lambda: fill(MAIN, write_nest()),
    "lists": lambda: fill(MAIN, repeat(f" x=[{'a,' * 140}]\n")),
    "lists_of_lists": lambda: fill(MAIN, repeat(" x=[[[[[[a]]]]]]\n")),
    "dicts": lambda: fill(MAIN, repeat(f" x={{{'a:a,' * 70}}}\n")),
    "tuples": lambda: fill(MAIN, repeat(" x=(a,a,a,a,a,a,a,a,a,a)\n")),
    "texts": lambda: fill(MAIN, repeat(f" s='{'x' * 390}'\n")),
    "short_texts": lambda: fill(MAIN, repeat(" s=''\n")),
    "numbers": lambda: fill(MAIN, repeat(f" a={'9' * 76}\n")),
    "escapes": lambda: fill(MAIN, repeat(r" s='" + r"\x41" * 90 + "'\n")),
    "formats": lambda: fill(MAIN, repeat(f" s=f'{'{s}' * 120}'\n")),
    "comprehensions": lambda: fill(MAIN, repeat(" x=[i for i in s]\n")),
    "slices": lambda: fill(MAIN, repeat(" s=s[:][:][:][:][:][:]\n")),
    "items": lambda: fill(MAIN, repeat(" s=s[0][0][0][0][0][0]\n")),
    "calls": lambda: fill("def f(a:int)->int:\n return a\n" + MAIN, repeat(f" a={'f(' * 15}a{')' * 15}\n")),
    "builtins": lambda: fill(MAIN, repeat(" a=min(a,b)\n")),
    "aborts": lambda: fill(MAIN, repeat(" require(p,'A')\n")),
    "events": lambda: fill(MAIN, repeat(" emit('E#')\n")),
    "one_event": lambda: fill(MAIN, repeat(" emit('E',a=a)\n")),
    "functions": lambda: fill(WHOLE, repeat("def f#():pass\n"), ""),
    "functions_that_call": lambda: fill(WHOLE, repeat("def f#()->int:return main(1,1,True,'')\n"), ""),
    "entries": lambda: fill(WHOLE, repeat("@entry\ndef f#():pass\n"), ""),
    "parameters": lambda: fill(WHOLE, repeat(f"def f#({PARAMETERS}):pass\n"), ""),
    "constants": lambda: fill(WHOLE, repeat("C#=1\n"), ""),
    "constants_on_constants": lambda: fill("C=1\n" + WHOLE, repeat("C#=C+C+C+C\n"), ""),
    "records": lambda: fill(WHOLE, repeat(write_record()), ""),
    "small_records": lambda: fill(WHOLE, repeat("@record\nclass R#:a:int\n"), ""),
    "makes": lambda: fill("@record\nclass R:a:int\n" + MAIN, repeat(" R(a)\n")),
    "large_types": lambda: fill(NEST + declare("R2", 200) + MAIN, repeat(" a=b\n")),
    "variables": lambda: fill(declare("int", VARIABLES_MAX) + MAIN, repeat(" v0=a\n")),
    "maps": lambda: fill(declare("Map[int,int]", VARIABLES_MAX) + MAIN, repeat(" v0[a]=b\n")),
    "indexes": lambda: fill(declare("Index[int,int]", VARIABLES_MAX) + MAIN, repeat(" v0.add(a,b)\n")),
    "reads": lambda: fill("m:Map[int,int]\n" + MAIN, repeat(" a=m[a]\n")),
    "writes": lambda: fill("m:Map[int,int]\n" + MAIN, repeat(" m[a]=a\n")),
    "updates": lambda: fill("m:Map[int,int]\n" + MAIN, repeat(" m[a]+=a\n")),
    "many_reads": lambda: fill("m:Map[int,int]\n" + MAIN, repeat(f" a={'m[' * 15}a{']' * 15}\n")),
    "blank": lambda: fill(MAIN, repeat("\n")),
}
"""Sources by what they are full of."""


def measure(shape: str) -> dict[str, object]:
    """Return milliseconds to check and to prepare one shape, for each engine."""
    source = SHAPES[shape]()
    compiled = compile_contract(source, name="bench", interfaces={})
    check = best_ns(lambda: compile_contract(source, name="bench", interfaces={}), RUNS)
    contracts = {"bench": compiled}
    build = {
        name: best_ns(functools.partial(Machine, contracts, engine=engine), RUNS)
        for name, engine in ENGINES.items()
    }
    return {
        "shape": shape,
        "bytes": len(source),
        "check_ms": round(check / 1e6, 1),
        **{f"{name}_ms": round(ns / 1e6, 1) for name, ns in build.items()},
        "deploy_ms": round((check + build["codegen"]) / 1e6, 1),
    }


def main(shapes: list[str]) -> None:
    """Measure and print, the slowest first."""
    figures = [measure(shape) for shape in shapes or SHAPES]
    figures.sort(key=lambda one: -float(str(one["deploy_ms"])))
    print_figures({"limit_ms": 1_000, "worst": figures[0], "shapes": figures})


if __name__ == "__main__":
    main(sys.argv[1:])
