"""The first program of a shell, for a moment: makes the process what a shell expects, then becomes the shell.

It runs by itself (`python -I -S doorstep.py FD`), because between fork and exec a program with threads may run
no Python. Over the socket FD comes what to do; back comes nothing when the shell runs, else what failed.
"""

import fcntl
import marshal
import os
import signal
import sys
import termios


def main() -> None:
    """Read the order, obey it step by step, and report the step that fails."""
    channel = int(sys.argv[1])
    os.set_inheritable(channel, False)
    order = marshal.loads(_read(channel))  # noqa: S302 - from our parent, over a socket nobody else has
    step = "the terminal"
    try:
        _make_signals_normal()
        if order["terminal"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if order["user"] is not None:
            step = "the user"
            name, uid, gid = order["user"]
            os.initgroups(name, gid)
            os.setgid(gid)
            os.setuid(uid)
        step = "the folder"
        _enter(order["folders"])
        step = "the shell"
        os.execve(order["path"], order["argv"], order["env"])  # noqa: S606 - to become a shell is its job
    except OSError as exc:
        os.write(channel, marshal.dumps((step, exc.errno or 0, exc.strerror or "")))
    os._exit(127)


def _make_signals_normal() -> None:
    """Ignore and block nothing: a shell hands that on to all it starts, and then Ctrl-C does nothing there.

    The agent may have been started so (nohup, a job of a script), and Python itself ignores SIGPIPE and SIGXFSZ.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _enter(folders: "list[bytes]") -> None:
    """Change to the first folder that can be entered."""
    for folder in folders[:-1]:
        try:
            os.chdir(folder)
        except OSError:
            continue
        return
    os.chdir(folders[-1])


def _read(channel: int) -> bytes:
    parts: list[bytes] = []
    while True:
        part = os.read(channel, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


if __name__ == "__main__":
    main()
