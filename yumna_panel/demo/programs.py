"""What runs under the supervisor, as its configuration file.

No path stands in the file: the supervisor expands `%` and cuts at ` ;` and ` #`, and a checkout may lie anywhere.
Paths come in the environment, and the shell puts them in.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

# A program that cannot start is tried again for as long as anybody would wait, ever more slowly.
RETRIES = 1000
WEB_WORKERS = 2
STOP_TIMEOUT = 12  # seconds: a worker drains its tunnels for 5, then its server closes

HEAD = """[supervisord]
nodaemon=true
silent=true
logfile=logs/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile=supervisord.pid
umask=077
"""

PROGRAM = """
[{section}]
command=/bin/sh -c '{script}'
{options}autostart=true
autorestart=true
startsecs=2
startretries={retries}
stopwaitsecs={stop}
redirect_stderr=true
stdout_logfile=logs/{name}.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=1
"""

PANEL = 'cd "$YUMNA_CHECKOUT" && exec "$YUMNA_PYTHON" yumna_panel/demo/tied.py'
# Its environment is made new: what an agent is given it hands on to every command it runs.
AGENT = (
    'cd "$YUMNA_AGENT" && exec env -i PATH="$PATH" HOME="$YUMNA_AGENT" LANG="${LANG:-C.UTF-8}" '
    '"$YUMNA_AGENT_PYTHON" tied.py -m agent_client'
)


@dataclass(frozen=True)
class Program:
    """One program of the demo; `user` is whom it runs as when not as we do."""

    name: str
    script: str
    user: str = ""
    socket: str = ""
    workers: int = 1

    def section(self) -> str:
        """Return its part of the configuration."""
        options = f"user={self.user}\n" if self.user else ""
        if self.socket:  # the supervisor owns the socket: one worker may die and the port stays ours
            options += f"socket={self.socket}\nnumprocs={self.workers}\nsocket_backlog=2048\n"
            options += "process_name=%(program_name)s_%(process_num)d\n"
        return PROGRAM.format(
            section=f"{'fcgi-program' if self.socket else 'program'}:{self.name}",
            name=f"{self.name}_%(process_num)d" if self.socket else self.name,
            script=self.script,
            options=options,
            retries=RETRIES,
            stop=STOP_TIMEOUT,
        )


def redis_program() -> Program:
    """Return the embedded Redis, which the others reach by REDIS_URL."""
    return Program("redis", f"unset REDIS_URL; {PANEL} -m yumna_panel.redis_keeper")


def web_program(address: str, port: int, *, workers: int) -> Program:
    """Return the web workers, all on one listening socket."""
    return Program(
        "web", f"{PANEL} -m yumna_panel.demo.web", socket=f"tcp://{address}:{port}", workers=workers
    )


def background_program() -> Program:
    """Return the background worker."""
    return Program("worker", f"{PANEL} manage.py runworker")


def agent_program(user: str) -> Program:
    """Return the agent for this machine."""
    return Program("agent", AGENT, user=user)


def configuration(programs: list[Program]) -> str:
    """Return the supervisor's configuration file."""
    owner = "user=root\n" if os.geteuid() == 0 else ""  # said aloud, or it warns about running as root
    return HEAD + owner + "".join(program.section() for program in programs)
