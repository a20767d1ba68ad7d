"""Generate the Python modules of the public API from its .proto files.

Without arguments the generated files land beside the .proto files, where they are committed. With `--check`
they are generated elsewhere and compared, so that nobody edits one by hand or forgets the other.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "proto"
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(target: Path) -> None:
    """Write the modules of every .proto file below `target`. Exits when the compiler refuses one."""
    protos = sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.proto"))
    if not protos:
        sys.exit("no .proto files under proto/: nothing to generate")
    scripts = Path(sysconfig.get_path("scripts"))
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={SOURCE}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--proto_path={sysconfig.get_path('purelib')}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            *protos,
        ]
    )
    if code != 0:
        sys.exit(f"protoc failed with exit code {code}")
    for proto in protos:
        if not _declares_service(SOURCE / proto):
            for suffix in SUFFIXES[2:]:
                (target / (proto.removesuffix(".proto") + suffix)).unlink()


def find_differences(expected: Path, committed: Path) -> list[str]:
    """Return the generated files that differ, are missing or are left over, sorted."""
    wanted, found = _read_generated(expected), _read_generated(committed)
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def main() -> None:
    """Generate in place, or compare with what is committed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        generate(SOURCE)
        return
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        differences = find_differences(Path(scratch), SOURCE)
    if differences:
        sys.exit("generated code is out of date, run `make proto`: " + ", ".join(differences))


def _declares_service(proto: Path) -> bool:
    return any(line.startswith("service ") for line in proto.read_text().splitlines())


def _read_generated(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*_pb2*")
        if path.name.endswith(SUFFIXES)
    }


if __name__ == "__main__":
    main()
