"""The same programs on every Python found here and under two hash seeds: all digests must be the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import tanpo.ledger
import tanpo.testing
import tanpo.vm

HASH_SEEDS: Final = ("1", "4242")
VERSIONS: Final = ("3.11", "3.12", "3.13")
_TIMEOUT_S: Final = 6 * 3_600


def find_interpreters() -> dict[str, str]:
    """Return the interpreters of the supported versions, this one first, by version."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for version in VERSIONS:
        for path in _find_candidates(version):
            if version not in found and _answers(path, version):
                found[version] = path
    return found


def compare_interpreters(first: int, count: int, digests: Sequence[str]) -> list[dict[str, object]]:
    """Return, for every interpreter and hash seed, whether it gives the same digests as were found here."""
    results: list[dict[str, object]] = []
    for version, path in find_interpreters().items():
        for seed in HASH_SEEDS:
            results.append(
                {"python": version, "hash_seed": seed, **_compare(path, seed, first, count, digests)}
            )
    return results


def run_script(
    interpreter: str, script: Path, *arguments: str, hash_seed: str, timeout_s: int = _TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """Run a script under an interpreter and a hash seed; nothing on its path, every warning an error."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(  # noqa: S603 - an interpreter and a script of our own
        [interpreter, "-W", "error", str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=timeout_s,
    )


def _find_candidates(version: str) -> Iterator[str]:
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        yield on_path
    for path in sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}*/bin/python")):
        yield str(path)


def _answers(path: str, version: str) -> bool:
    # Shims stand on the path for versions that are not installed.
    shown = subprocess.run(  # noqa: S603 - an interpreter
        [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return shown.returncode == 0 and shown.stdout.strip() == version


def _compare(path: str, hash_seed: str, first: int, count: int, digests: Sequence[str]) -> dict[str, object]:
    packages = (tanpo.ledger, tanpo.testing, tanpo.vm)
    roots = sorted({str(Path(folder).parents[1]) for package in packages for folder in package.__path__})
    script = Path(__file__).with_name("bootstrap.py")
    ran = run_script(path, script, str(first), str(count), *roots, hash_seed=hash_seed)
    if ran.returncode != 0:
        return {"skipped": (ran.stderr.strip().splitlines() or ["no output"])[-1]}
    found = json.loads(ran.stdout)
    if list(found) == list(digests):
        return {"same": True}
    place = next(n for n, pair in enumerate(zip(found, digests, strict=True)) if pair[0] != pair[1])
    return {"same": False, "first_chunk_that_differs": place}
