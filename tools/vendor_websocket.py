"""Copy websocket-client into the agent and write down what was copied.

python tools/vendor_websocket.py            # fetch the wheel with pip, check it, unpack it
python tools/vendor_websocket.py FILE.whl   # the same from a wheel at hand
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "1.8.0"  # the last that runs on Python 3.8 and 3.9, which many nodes have
WHEEL = f"websocket_client-{VERSION}-py3-none-any.whl"
WHEEL_SHA256 = "17b44cc997f5c498e809b22cdf2d9c7a9e71c02c8cc2b6c56e7c2d1239bfa526"  # as PyPI states it
LEFT_OUT = ("websocket/tests/", "websocket/_wsdump.py")  # its own tests and a command for a terminal
VENDOR = Path(__file__).resolve().parent.parent / "agent_client" / "vendor"


def main(arguments: list[str]) -> int:
    """Vendor the wheel named in `arguments`, else one that pip fetches."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(arguments[0]) if arguments else _fetch(Path(folder))
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != WHEEL_SHA256:
            sys.stderr.write(f"{wheel.name} has the SHA-256 {found}, expected {WHEEL_SHA256}\n")
            return 1
        files = _unpack(wheel)
    facts = {
        "websocket-client": {
            "version": VERSION,
            "license": "Apache-2.0",
            "source": f"https://pypi.org/project/websocket-client/{VERSION}/",
            "wheel": WHEEL,
            "wheel_sha256": WHEEL_SHA256,
            "files": files,
        }
    }
    (VENDOR / "vendor.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return 0


def _fetch(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    subprocess.run([*pip, "--dest", str(folder), f"websocket-client=={VERSION}"], check=True)
    return folder / WHEEL


def _unpack(wheel: Path) -> dict[str, str]:
    """Write the files of the library and its licence, return their hashes."""
    shutil.rmtree(VENDOR / "websocket", ignore_errors=True)
    files = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            target = _target(name)
            if target is None:
                continue
            content = archive.read(name)
            (VENDOR / target).parent.mkdir(parents=True, exist_ok=True)
            (VENDOR / target).write_bytes(content)
            files[target] = hashlib.sha256(content).hexdigest()
    return files


def _target(name: str) -> "str | None":
    if name.endswith("dist-info/LICENSE"):
        return "websocket/LICENSE"
    if not name.startswith("websocket/") or name.startswith(LEFT_OUT):
        return None
    return name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
