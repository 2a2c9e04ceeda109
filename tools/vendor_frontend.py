"""Copy the libraries of the pages and of their tests into the repository, and write down what was copied.

python tools/vendor_frontend.py    # fetch each package with npm, check it, unpack it

The version is part of a folder's name, so that no cache ever mixes two. A file's last line that names a source map
is dropped: the map is not shipped, and Django's manifest storage refuses a reference to a missing file.
"""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE_MAP = re.compile(rb"^(//|/\*)[#@] sourceMappingURL=.*\n?", re.MULTILINE)


@dataclass(frozen=True)
class Library:
    """One npm package: what it must hash to, and which of its files go where."""

    name: str
    version: str
    licence: str
    integrity: str  # as the registry states it
    place: str
    files: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it is kept, under the name that npm gives its package: `@xterm/xterm` is `xterm-xterm-6.0.0`."""
        return ROOT / self.place / f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}"


LIBRARIES = (
    Library(
        "uplot",
        "1.6.32",
        "MIT",
        "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        "tunnel/static/tunnel/vendor",
        ("dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE"),
    ),
    Library(
        "@xterm/xterm",
        "6.0.0",
        "MIT",
        "sha512-TQwDdQGtwwDt+2cgKDLn0IRaSxYu1tSUjgKarSDkUM0ZNiSRXFpjxEsvc/Zgc5kq5omJ+V0a8/kIM2WD3sMOYg==",
        "tunnel/static/tunnel/vendor",
        ("lib/xterm.js", "css/xterm.css", "LICENSE"),
    ),
    Library(
        "@xterm/addon-fit",
        "0.11.0",
        "MIT",
        "sha512-jYcgT6xtVYhnhgxh3QgYDnnNMYTcf8ElbxxFzX0IZo+vabQqSPAjC3c1wJrKB5E19VwQei89QCiZZP86DCPF7g==",
        "tunnel/static/tunnel/vendor",
        ("lib/addon-fit.js", "LICENSE"),
    ),
    Library(
        "@xterm/addon-search",
        "0.16.0",
        "MIT",
        "sha512-9OeuBFu0/uZJPu+9AHKY6g/w0Czyb/Ut0A5t79I4ULoU4IfU5BEpPFVGQxP4zTTMdfZEYkVIRYbHBX1xWwjeSA==",
        "tunnel/static/tunnel/vendor",
        ("lib/addon-search.js", "LICENSE"),
    ),
    Library(
        "@xterm/addon-web-links",
        "0.12.0",
        "MIT",
        "sha512-4Smom3RPyVp7ZMYOYDoC/9eGJJJqYhnPLGGqJ6wOBfB8VxPViJNSKdgRYb8NpaM6YSelEKbA2SStD7lGyqaobw==",
        "tunnel/static/tunnel/vendor",
        ("lib/addon-web-links.js", "LICENSE"),
    ),
    Library(
        "@xterm/addon-webgl",
        "0.19.0",
        "MIT",
        "sha512-b3fMOsyLVuCeNJWxolACEUED0vm7qC0cy4wRvf3oURSzDTYVQiGPhTnhWZwIHdvC48Y+oLhvYXnY4XDXPoJo6A==",
        "tunnel/static/tunnel/vendor",
        ("lib/addon-webgl.js", "LICENSE"),
    ),
    Library(
        "@xterm/addon-unicode11",
        "0.9.0",
        "MIT",
        "sha512-FxDnYcyuXhNl+XSqGZL/t0U9eiNb/q3EWT5rYkQT/zuig8Gz/VagnQANKHdDWFM2lTMk9ly0EFQxxxtZUoRetw==",
        "tunnel/static/tunnel/vendor",
        ("lib/addon-unicode11.js", "LICENSE"),
    ),
    Library(
        "asciinema-player",
        "3.18.0",
        "Apache-2.0",
        "sha512-5gpt2ipFcy4NKmgkv+c/QXnJ9zMicxqWROCOuJqgwwtiYKM8Qe9hnDOvfqke5bW6M2DW/seO3uQYkQ0xeUUVtw==",
        "tunnel/static/tunnel/vendor",
        ("dist/bundle/asciinema-player.min.js", "dist/bundle/asciinema-player.css", "LICENSE"),
    ),
    Library(
        "axe-core",
        "4.14.1",
        "MPL-2.0",
        "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        "tests/vendor",
        ("axe.min.js", "LICENSE", "LICENSE-3RD-PARTY.txt"),
    ),
)


def main() -> int:
    """Vendor every library; return 1 when a package is not the one that was chosen."""
    with tempfile.TemporaryDirectory() as folder:
        for library in LIBRARIES:
            package = _fetch(library, Path(folder))
            digest = hashlib.sha512(package.read_bytes()).digest()
            found = "sha512-" + base64.b64encode(digest).decode()
            if found != library.integrity:
                sys.stderr.write(f"{package.name} is {found}, expected {library.integrity}\n")
                return 1
            _unpack(library, package)
    for place in sorted({library.place for library in LIBRARIES}):
        _write_down(place)
    return 0


def _fetch(library: Library, folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("there is no npm here; install it to fetch the libraries")
    wanted = f"{library.name}@{library.version}"
    subprocess.run([npm, "pack", wanted, "--silent", "--pack-destination", str(folder)], check=True)
    return folder / f"{library.folder.name}.tgz"


def _unpack(library: Library, package: Path) -> None:
    shutil.rmtree(library.folder, ignore_errors=True)
    library.folder.mkdir(parents=True)
    with tarfile.open(package) as archive:
        for name in library.files:
            member = archive.extractfile(f"package/{name}")
            if member is None:
                sys.exit(f"{package.name} has no file {name}")
            (library.folder / Path(name).name).write_bytes(SOURCE_MAP.sub(b"", member.read()))


def _write_down(place: str) -> None:
    facts = [_facts(library) for library in LIBRARIES if library.place == place]
    (ROOT / place / "vendor.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _facts(library: Library) -> dict[str, object]:
    files = {}
    for path in sorted(library.folder.iterdir()):
        content = path.read_bytes()
        files[path.name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return {
        "name": library.name,
        "version": library.version,
        "licence": library.licence,
        "integrity": library.integrity,
        "folder": library.folder.name,
        "files": files,
    }


if __name__ == "__main__":
    sys.exit(main())
