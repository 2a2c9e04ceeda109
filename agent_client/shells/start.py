"""Start a user's shell, in a new pseudo terminal or at pipes."""

import contextlib
import ctypes
import errno
import fcntl
import marshal
import os
import pwd
import re
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Optional

from agent_client.calls import Refused
from agent_client.protocol.codes import Code
from agent_client.services.programs import child_environment

FALLBACKS = ("/bin/bash", "/bin/sh")  # when the user has no shell that can be used
NO_SHELLS = frozenset({"nologin", "false", "true", "sync", "halt", "shutdown"})
USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USUAL_TERM = "xterm-256color"
START_TIMEOUT = 10.0  # seconds until the shell must run; a home on a network may take one

_TERM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_LANG = re.compile(
    r"([A-Za-z]{2,8})(?:[_-]([A-Za-z0-9]{2,8}))?(?:\.[A-Za-z0-9-]{1,16})?(?:@[A-Za-z0-9]{1,16})?"
)
_LC_CTYPE_MASK = 1  # glibc, musl
_LOCALE_NAMES = ("LC_ALL", "LC_CTYPE", "LANG")  # in the order in which they decide
_CODES = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.ENOTDIR: Code.NOT_FOUND,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.EAGAIN: Code.BUSY,
    errno.ENOMEM: Code.BUSY,
}


@dataclass(frozen=True)
class User:
    """Whose shell it is; `other` is somebody else than the agent runs as."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    other: bool = False


@dataclass(frozen=True)
class Wishes:
    """What the caller asked for."""

    cols: int
    rows: int
    term: Optional[str] = None
    lang: Optional[str] = None
    cwd: Optional[str] = None


@dataclass(frozen=True)
class PipeWishes:
    """What the caller asked for who has no terminal; without a line the shell reads its input."""

    line: Optional[str] = None
    lang: Optional[str] = None
    cwd: Optional[str] = None


@dataclass(frozen=True)
class Started:
    """A shell that runs: its process, our end of its terminal, and which program it is."""

    process: "subprocess.Popen[bytes]"
    terminal: int
    path: str


def user_of(name: Optional[str], policy: Optional[str]) -> User:
    """Return the user whose shell is to be opened; `policy` is the one the node's settings name, if any.

    Raises:
        Refused: the node's settings do not let this user's shell be opened, or there is no such user.
    """
    own = _own()
    allowed = policy or own.name
    if name is not None and name != allowed:
        raise Refused(Code.FORBIDDEN, f"this node opens shells of {allowed} only")
    if allowed == own.name:
        return own
    if os.geteuid() != 0:
        raise Refused(
            Code.FORBIDDEN, f"SHELL_USER is {allowed}, but only an agent of root starts their shells"
        )
    try:
        return _user(pwd.getpwnam(allowed), other=True)
    except KeyError:
        raise Refused(Code.NOT_FOUND, f"SHELL_USER is {allowed}, but this machine has no such user") from None


def start_shell(user: User, wishes: Wishes) -> Started:
    """Start the user's shell as a login shell with a terminal, session and process group of its own.

    Raises:
        Refused: it cannot be started.
    """
    path = shell_of(user)
    term = wishes.term if wishes.term and _TERM.fullmatch(wishes.term) else USUAL_TERM
    env = {**environment(user, path, wishes.lang), "TERM": term}
    order = _order(user, path, [_login(path)], env, wishes.cwd)
    try:
        ours, theirs = os.openpty()
    except OSError as exc:
        raise Refused(Code.BUSY, f"this node has no terminal left: {exc.strerror}") from exc
    try:
        set_size(ours, wishes.cols, wishes.rows)
        if user.other:
            os.fchown(theirs, user.uid, os.fstat(theirs).st_gid)
        process = _spawn(theirs, {**order, "terminal": True})
        os.set_blocking(ours, False)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Started(process, ours, path)


def start_piped(user: User, wishes: PipeWishes) -> "tuple[subprocess.Popen[bytes], str]":
    """Start the user's shell at pipes: a login shell that reads its input, or one that runs a line; return its path too.

    Raises:
        Refused: it cannot be started.
    """
    path = shell_of(user)
    argv = [_login(path)]
    if wishes.line is not None:  # as sshd runs one
        argv = [os.fsencode(Path(path).name), b"-c", wishes.line.encode("utf-8", "surrogatepass")]
    order = _order(user, path, argv, environment(user, path, wishes.lang), wishes.cwd)
    return _spawn(subprocess.PIPE, {**order, "terminal": False}), path


def shell_of(user: User) -> str:
    """Return the program: the user's own shell, else the first of the usual ones that is there.

    Raises:
        Refused: this machine has none.
    """
    for path in (user.shell, *FALLBACKS):
        if os.path.isabs(path) and Path(path).name not in NO_SHELLS and os.access(path, os.X_OK):
            return path
    raise Refused(Code.NOT_FOUND, "this node has no shell, not even /bin/sh")


def environment(user: User, path: str, lang: Optional[str]) -> dict[str, str]:
    """Return the shell's variables: the agent's own without its settings, or none of them for another user.

    The agent's terminal, if it has one, is nobody else's: there is no TERM.
    """
    inherited = {"PATH": USUAL_PATH} if user.other else {"PATH": USUAL_PATH, **child_environment({})}
    inherited.pop("TERM", None)
    locale = _locale(lang, inherited)
    kept = {name: value for name, value in inherited.items() if name not in _LOCALE_NAMES or not locale}
    return {
        **kept,
        **({"LANG": locale} if locale else {}),
        "HOME": user.home,
        "USER": user.name,
        "LOGNAME": user.name,
        "SHELL": path,
    }


def set_size(terminal: int, cols: int, rows: int) -> None:
    """Tell a terminal its size; the kernel tells the programs in it."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def _own() -> User:
    uid, home = os.geteuid(), os.environ.get("HOME", "")
    try:
        own = _user(pwd.getpwuid(uid))
    except KeyError:  # a container that runs as a number
        own = User(str(uid), uid, os.getegid(), "/", "")
    return replace(own, home=home) if home else own  # what the agent was started with, as `system.exec` does


def _user(entry: pwd.struct_passwd, *, other: bool = False) -> User:
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir or "/", entry.pw_shell, other)


def _login(path: str) -> bytes:
    """Return the name under which a program is a login shell: the dash makes it one."""
    return b"-" + os.fsencode(Path(path).name)


def _order(
    user: User, path: str, argv: "list[bytes]", env: Mapping[str, str], cwd: Optional[str]
) -> "dict[str, Any]":
    """Return what the doorstep is told."""
    return {
        "user": (user.name, user.uid, user.gid) if user.other else None,
        "folders": [os.fsencode(cwd)] if cwd else [os.fsencode(user.home), b"/"],
        "path": os.fsencode(path),
        "argv": argv,
        "env": {os.fsencode(name): os.fsencode(value) for name, value in env.items()},
    }


def _spawn(files: int, order: "dict[str, Any]") -> "subprocess.Popen[bytes]":
    """Start the doorstep with a terminal or pipes as its files, and wait until the shell has taken its place."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(Path(__file__).with_name("doorstep.py")),
                    str(theirs.fileno()),
                ],
                stdin=files,
                stdout=files,
                stderr=files,
                bufsize=0,
                cwd="/",
                env=child_environment({}),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        try:
            for pipe in _pipes(process):
                if order["user"] is not None:  # who starts may open /dev/stderr by its name
                    os.fchown(pipe.fileno(), *order["user"][1:])
            failed = _ordered(ours, order)
        except BaseException:
            _drop(process)
            raise
    if failed is not None:
        _drop(process)
        raise failed
    return process


def _ordered(channel: socket.socket, order: "dict[str, Any]") -> Optional[Refused]:
    """Say what to do and hear what failed; None when the shell runs."""
    channel.settimeout(START_TIMEOUT)
    try:
        channel.sendall(marshal.dumps(order))
        channel.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: channel.recv(4096), b""))
    except socket.timeout:
        return Refused(Code.TIMEOUT, f"the shell did not start within {START_TIMEOUT:g} s")
    except OSError as exc:
        return Refused(Code.INTERNAL, f"the shell did not start: {exc.strerror}")
    if not answer:
        return None
    step, number, sentence = marshal.loads(answer)  # noqa: S302 - from our child, before it became the shell
    return Refused(_CODES.get(number, Code.INTERNAL), f"{step} cannot be used: {sentence}")


def _pipes(process: "subprocess.Popen[bytes]") -> "list[IO[bytes]]":
    return [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe is not None]


def _drop(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    for pipe in _pipes(process):
        pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(START_TIMEOUT)


def _locale(wanted: Optional[str], inherited: Mapping[str, str]) -> Optional[str]:
    """Choose a locale this machine has, in UTF-8, because terminals speak nothing else; None: leave all as it is."""
    names = []
    match = _LANG.fullmatch(wanted or "")
    if match:
        language, country = match[1], match[2]
        names = [f"{language}_{country}.UTF-8"] if country else []
        names += [f"{language}.UTF-8", f"{language}_{language.upper()}.UTF-8"]
    own = next((inherited[name] for name in _LOCALE_NAMES if inherited.get(name)), "")
    if not match and own.upper().replace("-", "").endswith("UTF8"):
        return None
    return next((name for name in (*names, own, "C.UTF-8") if _is_utf8(name) and _exists(name)), None)


def _is_utf8(name: str) -> bool:
    return name.upper().replace("-", "").endswith("UTF8")


def _exists(name: str) -> bool:
    """Ask the C library for a locale without setting it: that would change it for all threads."""
    try:
        library = ctypes.CDLL(None)
        library.newlocale.restype = ctypes.c_void_p
        found = library.newlocale(_LC_CTYPE_MASK, name.encode(), None)
        if found:
            library.freelocale(ctypes.c_void_p(found))
    except (OSError, AttributeError):
        return False
    return bool(found)
