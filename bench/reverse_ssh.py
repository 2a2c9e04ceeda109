"""The usual way to a shell behind NAT: `ssh` through a port that the node's own `ssh` holds open at the panel."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.pty_line import PtyLine
from tests.e2e.cluster import free_port, until

HOST = "127.0.0.1"
WITHIN = 15.0  # seconds for each side to be there
# sshd of root insists on this folder; packages leave it to the service that nobody has started here.
PRIVSEP = Path("/run/sshd")
SERVER = """\
ListenAddress {host}:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
PrintMotd no
PrintLastLog no
"""


class Missing(Exception):
    """There is no OpenSSH here, or none that lets whoever runs this in."""


@contextmanager
def line(folder: Path) -> Iterator[PtyLine]:
    """A shell at the far end of such a tunnel, with keys and settings of its own.

    Raises:
        Missing: it cannot be had.
    """
    programs = {name: shutil.which(name, path=_path()) for name in ("sshd", "ssh", "ssh-keygen")}
    if not all(programs.values()):
        raise Missing(f"{', '.join(name for name, path in programs.items() if not path)} not installed")
    sshd, ssh, keygen = (str(path) for path in programs.values())
    for name in ("host", "user"):
        command = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    port, far = free_port(), free_port()
    (folder / "sshd_config").write_text(SERVER.format(host=HOST, port=port, folder=folder))
    login = [ssh, "-F", "none", "-i", str(folder / "user"), "-o", "IdentitiesOnly=yes"]
    login += ["-o", f"UserKnownHostsFile={folder / 'known'}", "-o", "StrictHostKeyChecking=no"]
    login += ["-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]
    login += ["-l", getpass.getuser()]
    made = os.getuid() == 0 and not PRIVSEP.exists()
    if made:
        PRIVSEP.mkdir(mode=0o755)
    running: list[subprocess.Popen[bytes]] = []
    log = folder / "ssh.log"

    def start(command: list[str], port: int) -> None:
        with log.open("ab") as out:
            running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out))
        try:
            until(lambda: _listens(port), WITHIN)
        except AssertionError as exc:
            raise Missing(log.read_text(errors="replace").strip()[-300:] or str(exc)) from exc

    try:
        start([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], port)
        start([*login, "-N", "-p", str(port), "-R", f"{HOST}:{far}:{HOST}:{port}", HOST], far)
        with PtyLine(*login, "-tt", "-p", str(far), HOST) as made_line:
            yield made_line
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(10)
        if made:
            PRIVSEP.rmdir()


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
