"""Damage to a node's files while it is down, and the remedies that the operator's page gives."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Final

COPIED: Final = ("blocks", "state", "guard", "network")
"""What a node whose blocks are damaged takes over from another stopped one; never `consensus`."""
BALLAST_NAME: Final = "ballast"
_BALLAST_BYTES: Final = 1 << 20
_UNMOUNT_TRIES: Final = 50


def flip_bit(files: Iterable[Path], chance: Random) -> str:
    """Flip one bit somewhere in the files, each byte as likely as any other; return where."""
    sized = [(path, path.stat().st_size) for path in sorted(files) if path.is_file()]
    sized = [(path, size) for path, size in sized if size]
    path, size = chance.choices(sized, [size for _, size in sized])[0]
    offset, bit = chance.randrange(size), chance.randrange(8)
    flip_bit_at(path, offset, bit)
    return f"{path.parent.name}/{path.name} at {offset} of {size}, bit {bit}"


def flip_bit_at(path: Path, offset: int, bit: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))
        os.fsync(file.fileno())


def list_blocks(data_dir: Path) -> list[Path]:
    """Return the files of the chain."""
    return sorted((data_dir / "blocks").iterdir())


def list_state(data_dir: Path) -> list[Path]:
    """Return LevelDB's files of the state; not its lock and logs for people, which it never reads.

    The tree's log is left out: much of it is no longer in use, and what is in use is noticed when it is read.
    """
    return _list_database(data_dir / "state")


def list_promises(data_dir: Path) -> list[Path]:
    """Return the files that hold what a validator must not forget: the database and the guard."""
    live = data_dir / "consensus" / "live"
    return [*_list_database(live / "db"), live / "guard"]


def set_aside(path: Path) -> None:
    """Move a damaged folder away, next to where it was."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(target)


def copy_chain(source: Path, target: Path) -> None:
    """Give a stopped node the chain and state of another stopped one, and leave its promises alone."""
    for name in COPIED:
        if (target / name).is_dir():
            shutil.rmtree(target / name)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        else:
            shutil.copy2(source / name, target / name)


def mount_small_disk(path: Path, megabytes: int) -> bool:
    """Put a small file system of its own under a folder, with what the folder held; False if not allowed."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        return False
    path.mkdir(parents=True, exist_ok=True)
    held = path.with_name(f"{path.name}.held")
    shutil.copytree(path, held)
    command = [mount, "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(path)]
    is_mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603  # no shell
    if is_mounted:
        shutil.copytree(held, path, dirs_exist_ok=True)
    shutil.rmtree(held)
    return is_mounted


def unmount(path: Path) -> None:
    """Take the small file system away again; what was on it stays in the folder."""
    held = path.with_name(f"{path.name}.held")
    shutil.copytree(path, held, ignore=shutil.ignore_patterns(BALLAST_NAME))
    umount = shutil.which("umount") or "umount"
    for _ in range(_UNMOUNT_TRIES):
        done = subprocess.run([umount, str(path)], check=False, capture_output=True)  # noqa: S603  # no shell
        if done.returncode == 0:
            break
        time.sleep(0.1)  # Whoever was killed holds it until it is gone.
    else:
        # A mount that is left behind keeps its folder from being removed, by us and by whoever comes after.
        subprocess.run([umount, "--lazy", str(path)], check=True, capture_output=True)  # noqa: S603  # no shell
    shutil.copytree(held, path, dirs_exist_ok=True)
    shutil.rmtree(held)


def fill_disk(folder: Path) -> int:
    """Fill the file system under a folder to the last byte; return how many it took."""
    written = 0
    with (folder / BALLAST_NAME).open("wb", buffering=0) as ballast:
        size = _BALLAST_BYTES
        while size:
            try:
                written += ballast.write(b"\0" * size)
            except OSError:
                size //= 2
    return written


def free_disk(folder: Path) -> None:
    """Give back what `fill_disk` took."""
    (folder / BALLAST_NAME).unlink(missing_ok=True)


def _list_database(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in (".ldb", ".log", "") and path.name != "LOCK" and not path.name.startswith("LOG")
    ]
