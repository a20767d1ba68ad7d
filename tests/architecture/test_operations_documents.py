"""What operators read is what the code does: exit codes and configuration keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from tanpo.node.config import NodeConfig
from tanpo.node.exits import ExitCode


@pytest.fixture(scope="module")
def guide(root: Path) -> str:
    return (root / "deploy" / "README.md").read_text()


def test_every_exit_code_is_explained_in_order(guide: str) -> None:
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \| \S", guide.partition("## Exit codes")[2], re.M)

    assert [(int(number), name) for number, name in rows] == [(int(code), code.name) for code in ExitCode]


def test_every_key_of_the_configuration_is_explained(guide: str) -> None:
    table = guide.partition("## Configuration")[2].partition("\n## ")[0]
    explained = {
        f"{section}.{key}" if section else key
        for section, keys in re.findall(r"^\| (?:`\[+([a-z]+)\]+` )?((?:`[a-z_]+`(?:, )?)+) \|", table, re.M)
        for key in re.findall(r"`([a-z_]+)`", keys)
    }
    addresses = {"listen", "peer_listen", "ops_listen"}  # under "Ports"

    assert explained | addresses == set(list_keys(NodeConfig))


def list_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key that a file may have, with its section."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        nested = find_section(field.annotation)
        found += [prefix + name] if nested is None else list_keys(nested, f"{name}.")
    return found


def find_section(annotation: object) -> type[BaseModel] | None:
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
