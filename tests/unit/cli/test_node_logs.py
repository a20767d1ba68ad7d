from __future__ import annotations

import json
from pathlib import Path

import pytest
from tanpo.cli.node_logs import find_log, print_lines, render_line
from tanpo.ledger.errors import Reason, UsageError
from tanpo.node.config import NodeConfig, TlsConfig

CONFIG = NodeConfig(
    member="alpha",
    node="n1",
    data_dir=Path("data"),
    genesis=Path("genesis.json"),
    listen="127.0.0.1:0",
    peer_listen="127.0.0.1:0",
    ops_listen="127.0.0.1:0",
    tls=TlsConfig(ca=Path("ca"), certificate=Path("crt"), key=Path("key")),
)


def write(folder: Path, *lines: dict[str, object] | str) -> Path:
    path = folder / "node.log"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def test_a_line_is_shown_as_a_person_reads_it_and_what_is_no_json_as_it_is() -> None:
    line = {
        "time": "2026-01-02T03:04:05.678901Z",
        "level": "info",
        "component": "peers",
        "event": "peer connected",
    }
    shown = render_line(json.dumps({**line, "peer": "a/n1", "why": "it is back", "height": 7, "empty": ""}))

    assert (
        shown
        == '2026-01-02T03:04:05.678 info    peers      peer connected  peer=a/n1 why="it is back" height=7'
    )
    assert render_line("Fatal Python error") == "Fatal Python error"
    assert render_line("[1]") == "[1]"


def test_the_last_lines_that_fit_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path,
        {"level": "error", "event": "one"},
        {"level": "warning", "event": "two", "tx_ids": ["ab"]},
        {"level": "error", "event": "three"},
        {"level": "info", "event": "four", "tx_ids": ["ab"]},
        "not json",
        {"level": "strange", "event": "five"},
    )

    def shown(count: int, level: str, tx_id: str = "") -> list[str]:
        print_lines(path, count=count, follow=False, level=level, tx_id=tx_id, is_raw=True)
        return [
            line if line == "not json" else json.loads(line)["event"]
            for line in capsys.readouterr().out.splitlines()
        ]

    assert shown(2, "debug") == ["not json", "five"]
    assert shown(9, "error") == ["one", "three", "five"]
    assert shown(2, "error") == ["three", "five"]
    assert shown(9, "debug", "ab") == ["two", "four"]
    with pytest.raises(UsageError, match="no such log level"):
        shown(1, "loud")


def test_the_log_is_where_the_configuration_says_or_beside_it(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    with pytest.raises(UsageError) as caught:
        find_log(config, CONFIG)
    assert caught.value.reason is Reason.NOT_FOUND
    assert "journalctl" in caught.value.remedy

    beside = write(tmp_path)
    assert find_log(config, CONFIG) == beside
    elsewhere = CONFIG.model_copy(update={"log_file": tmp_path / "else.log"})
    assert find_log(config, elsewhere) == tmp_path / "else.log"
