"""What lies in deploy/ agrees with the code and the version that it is for."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

from tanpo.cli.compose.rendering import render_compose
from tanpo.cli.samples import load_catalog


def test_the_compose_file_is_what_the_command_makes(root: Path) -> None:
    """After a change: `cp .net/compose.yaml deploy/` of a network that `tanpo net up --compose` made."""
    members = [one.member for one in load_catalog().members]

    assert (root / "deploy/compose.yaml").read_text() == render_compose(members)


def test_the_image_is_labelled_with_the_version(root: Path) -> None:
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    dockerfile = (root / "deploy/Dockerfile").read_text()

    assert f"ARG VERSION={version}\n" in dockerfile
    assert f"-t tanpo:{version} " in dockerfile


def test_the_builder_is_sent_what_the_image_is_made_of_and_nothing_else(root: Path) -> None:
    """What is copied and not allowed would be missing; what is allowed and not copied may be secret."""
    allowed = {
        line.removeprefix("!")
        for line in (root / ".dockerignore").read_text().splitlines()
        if line[:1] == "!"
    }
    copied = {
        word
        for line in (root / "deploy/Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }

    assert {word.replace("authorities.cr[t]", "authorities.crt") for word in copied} == allowed - {
        "deploy/Dockerfile"
    }


def test_where_no_base_can_be_made_the_other_way_to_one_is_named(root: Path, tmp_path: Path) -> None:
    """Neither root nor debootstrap is there for everybody, nor an image registry."""
    for name in ("dirname", "sed", "sha256sum", "uname", "cut", "id", "sh"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    engine = tmp_path / "docker"
    engine.write_text('#!/bin/sh\n[ "$1" = version ]\n')
    engine.chmod(0o755)

    done = subprocess.run(
        ["/bin/sh", root / "deploy/build-image.sh"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    *_, why, remedy = done.stderr.splitlines()
    assert why.startswith("base-image.sh: ")
    assert "BASE_IMAGE=python:3.12-slim deploy/build-image.sh" in remedy
