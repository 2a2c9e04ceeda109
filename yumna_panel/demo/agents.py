"""An agent of the demo on this machine: its row, its secret, its folder, and the user it runs as."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from servers import credentials, identity
from servers.models import Server
from yumna_panel.demo.greeting import say
from yumna_panel.demo.places import CHECKOUT, Places
from yumna_panel.demo.site import Site
from yumna_panel.private_files import ensure_private_folder, write_private

PROBE_TIMEOUT = 20.0  # seconds
CODE = ("agent_client", "psutil")  # without psutil an agent reads /proc itself
OLD_ENOUGH = "import sys; sys.exit(sys.version_info < (3, 9))"
TEMPORARY, FOLDER_PREFIX = Path("/tmp"), "yumna-agent-"  # noqa: S108 - a fresh folder is made in it
SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3")


class NoPythonForUser(Exception):
    """We are root, and the user the agent would run as can run no Python."""

    def __init__(self, user: str) -> None:
        self.user = user
        super().__init__(user)

    def __str__(self) -> str:
        return (
            f"user {self.user} can run no Python 3.9 or newer here; install python3 where all users reach it"
        )


@dataclass(frozen=True)
class Home:
    """Where and as whom an agent runs; `user` is empty when it runs as we do."""

    folder: Path
    python: str
    user: str = ""


def ensure_server(name: str, folder: Path) -> tuple[Server, Path]:
    """Return the server's row, made when it is missing, and the 0600 file with its secret."""
    server = Server.objects.filter(name=name).first()
    if server is None:
        server, secret = identity.create(name)
        write_private(_secret_file(folder, server), secret)
    elif not _opens(_secret_file(folder, server), server):
        write_private(_secret_file(folder, server), identity.rotate_secret(server, by=None))
    return server, _secret_file(folder, server)


def _secret_file(folder: Path, server: Server) -> Path:
    return folder / f"{server.agent_id}.secret"  # an agent id holds no slash, a name may


def _opens(secret_file: Path, server: Server) -> bool:
    if not secret_file.exists():
        return False
    return credentials.matches(secret_file.read_text(encoding="utf-8"), server.secret_digest)


def unprivileged_user() -> str:
    """Return whom an agent runs as when we are root: the owner of the checkout, or nobody."""
    owner = CHECKOUT.stat().st_uid
    if owner != 0:
        with contextlib.suppress(KeyError):  # an owner of another machine, in a container
            return pwd.getpwuid(owner).pw_name
    return "nobody"


@contextlib.contextmanager
def local_agent(name: str, site: Site, places: Places) -> Iterator[Home | None]:
    """Prepare an agent for this machine; yield nothing, and say why, when it cannot run here."""
    server, secret_file = ensure_server(name, ensure_private_folder(places.agents))
    files = {"secret": secret_file}
    if site.host:
        files["ca.pem"] = places.certificates / "ca.pem"
    try:
        with home(places.agents / server.agent_id, agent_settings(server.agent_id, site), files) as prepared:
            if prepared.user:
                say(f"you are root: the agent of {name} runs as {prepared.user}")
            yield prepared
    except NoPythonForUser as exc:
        say(f"no agent for {name}: {exc}")
        yield None


def agent_settings(agent_id: str, site: Site) -> dict[str, str]:
    """Return the `.env` of an agent on this machine; its files lie beside it."""
    secure = {"MASTER_CA_FILE": "ca.pem"} if site.host else {"ALLOW_INSECURE": "1"}
    return {
        "CONNECTION_MODE": "tunnel",
        "MASTER_URL": site.local_tunnel_url,
        "AGENT_ID": agent_id,
        "AGENT_SECRET_FILE": "secret",
        **secure,
    }


@contextlib.contextmanager
def home(kept: Path, settings: dict[str, str], files: dict[str, Path]) -> Iterator[Home]:
    """Lay out the folder in which `python tied.py -m agent_client` runs: code, `.env`, and files beside it.

    As root the folder is a fresh one outside the checkout, which its user may not be able to enter; it is that
    user's alone, and removed at the end. Otherwise it is `kept`.

    Raises:
        NoPythonForUser: we are root and found no Python for the other user.
    """
    if os.geteuid() != 0:
        ensure_private_folder(kept)
        _lay_out(kept, settings, files, copy=False)
        yield Home(kept, sys.executable)
        return
    user = unprivileged_user()
    python = _python_for(user)
    folder = _fresh_folder(kept.with_name(f"{kept.name}.folder"))
    try:
        _lay_out(folder, settings, files, copy=True)
        _give_to(folder, user)
        yield Home(folder, python, user)
    finally:
        shutil.rmtree(folder)


def _fresh_folder(note: Path) -> Path:
    """Make a folder and note its path; remove the one of a run that was killed before it could."""
    if note.exists():
        left = Path(note.read_text(encoding="utf-8"))
        if left.parent == TEMPORARY and left.name.startswith(FOLDER_PREFIX):
            shutil.rmtree(left, ignore_errors=True)  # mostly it is gone
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=TEMPORARY))  # 0700
    write_private(note, str(folder))
    return folder


def _lay_out(folder: Path, settings: dict[str, str], files: dict[str, Path], *, copy: bool) -> None:
    write_private(folder / "tied.py", Path(__file__).with_name("tied.py").read_bytes())
    if copy:
        _copy_code(folder)
    else:
        (folder / "agent_client").unlink(missing_ok=True)
        (folder / "agent_client").symlink_to(CHECKOUT / "agent_client")
    for name, source in files.items():
        write_private(folder / name, source.read_bytes())
    write_private(folder / ".env", "".join(f"{name}={value}\n" for name, value in settings.items()))


def _copy_code(folder: Path) -> None:
    for package in CODE:
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            ignore = shutil.ignore_patterns("__pycache__", "tests")
            shutil.copytree(spec.submodule_search_locations[0], folder / package, ignore=ignore)


def _give_to(folder: Path, user: str) -> None:
    owner = pwd.getpwnam(user)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)


def _python_for(user: str) -> str:
    base = getattr(sys, "_base_executable", sys.executable)
    for python in (sys.executable, base, *SYSTEM_PYTHONS):
        if _runs(python, user):
            return str(python)
    raise NoPythonForUser(user)


def _runs(python: str, user: str) -> bool:
    owner = pwd.getpwnam(user)
    try:
        done = subprocess.run(
            [python, "-I", "-c", OLD_ENOUGH],
            user=owner.pw_uid,
            group=owner.pw_gid,
            extra_groups=[],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
