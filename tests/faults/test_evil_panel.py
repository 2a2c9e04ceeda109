"""A panel with the agent's trust that tries what a panel, or who stands between, may try: no effect on a real agent.

| what it may try | shown by |
|---|---|
| commands again, old, from the future, with an id of another | `twice`, `out_of_time`, `ids` |
| a clock that jumps, so that ids are forgotten | `clock` |
| ten thousand commands at once | `many` |
| what is no command, or has wrong types in every field | `rubbish`, `fields` |
| times of 0, below and beyond all measure | `timing`, test_no_panel_sends_an_agent_away_for_long |
| to be told the secret | `ask_for_the_secret` |
| to leave something behind on the node that it did not order | `run_amok` |
| PONGs, CANCELs and frames that nobody waits for | `noise` |
| not HTTP, no WebSocket, floods, depth, size | tests/agent/test_hostile_master.py, tests/faults/test_floods.py |
| redirects, proxies, certificates | tests/agent/test_link.py, tests/faults/test_secret_on_the_way.py |
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent_client.backoff import LONGEST_GOODBYE, RULES, Ending
from agent_client.pool import THREADS
from agent_client.protocol.limits import MAX_ID, MAX_RUBBISH
from tests.agent.real_master import Master, Visit
from tests.e2e.cluster import ROOT, until
from tests.e2e.real_agent import RealAgent
from tests.faults.counts import count
from tests.faults.payloads import NO_JSON, NUMBERS, TEXTS, TRAPS
from tests.faults.test_floods import MORE_MEMORY, Watch

pytestmark = pytest.mark.e2e

AT_ONCE = count(10_000, 50_000)  # commands
LONG = 60.0  # seconds for an answer on a busy machine
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
ACK = {"type": "HANDSHAKE_ACK", "session": "evil", "status": "connected"}


class Node:
    """Where one agent runs; `ran` are the words of the commands that ran, in that order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        folder.chmod(0o777)  # whoever the agent runs as
        self.secret = f"canary-6c11-of-{folder.name}"  # what others are given is seen before they hide it
        self._file = folder / "ran"

    @property
    def ran(self) -> list[str]:
        return self._file.read_text().split() if self._file.exists() else []

    def start(self, master: Master, inside: tuple[str, ...] = ()) -> RealAgent:
        url = f"ws://127.0.0.1:{master.port}/tunnel"
        code = self.folder / "code"  # a clone may lie where nobody but its owner reads
        shutil.copytree(ROOT / "agent_client", code / "agent_client")
        return RealAgent(self.folder, [url], "node", self.secret, inside=inside, PYTHONPATH=str(code))

    def write(self, word: str) -> dict:
        """The parameters of a command that leaves a word behind."""
        return {"argv": ["sh", "-c", f'echo {word} >> "$0"', str(self._file)]}


def send(visit: Visit, text: str) -> None:
    """Send what need not be a message."""
    visit.socket.send(text)


def order(visit: Visit, node: Node, word: str, **members: object) -> None:
    """Send a command that leaves `word` behind; `members` may make it a wrong one."""
    asked = {"id": word, "type": "EXEC_COMMAND", "service": "system", "action": "exec"}
    asked |= {"timestamp": visit.master.clock(), "params": node.write(word)}
    visit.send({**asked, **members})


def last(visit: Visit) -> None:
    """Wait until what was sent before has been judged and, had it been let through, has run: twice the agent's threads."""
    for number in range(2 * THREADS):
        visit.command("system", "exec", id=f"last-{number}-{time.monotonic_ns()}", params={"argv": ["true"]})
    for _ in range(2 * THREADS):
        visit.next(lambda message: str(message.get("requestId")).startswith("last-"), LONG)


# The tricks -----------------------------------------------------------------------------------------------------


def twice(visit: Visit, node: Node) -> None:
    """The same command again and again, and again beside others."""
    visit.greet(silence=LONG)
    for _ in range(15):
        order(visit, node, "once-again")
    last(visit)
    for word in ("once-a", "once-b", "once-again", "once-a"):
        order(visit, node, word)
    last(visit)


def out_of_time(visit: Visit, node: Node) -> None:
    """Commands of another time than the one this panel has told."""
    visit.greet(silence=LONG)
    now = visit.master.clock()
    moments = [
        0,
        -1,
        -now,
        now - 31,
        now + 32,
        (now - 31) * 1000,
        (now + 32) * 1000,
        1e300,
        -1e300,
        1e11,
        -1e11,
    ]
    moments += [None, "now", [now], {"now": now}, True]
    for number, moment in enumerate(moments):
        order(visit, node, f"never-{number}", timestamp=moment)
    order(visit, node, "once-fresh", timestamp=(now + 1) * 1000)
    last(visit)


def ids(visit: Visit, node: Node) -> None:
    """Ids of every shape; one that is too long, empty or no text at all is of no command."""
    visit.greet(silence=LONG)
    for number, text in enumerate(text[:MAX_ID] for text in TEXTS if text):
        visit.command("agent", "ping", id=text, number=number)
    order(visit, node, "once-long", id="x" * MAX_ID)
    order(visit, node, "never-again", id="x" * MAX_ID)
    for number, wrong in enumerate(["", "x" * (MAX_ID + 1), 1, None, ["x"], {"x": 1}]):
        order(visit, node, f"never-id-{number}", id=wrong)
    last(visit)


def clock(visit: Visit, node: Node) -> None:
    """A clock that jumps as far as numbers go, so that the agent might forget what it has run."""
    order_of_times = [1e300, -1e300, 1e11, -1e11, 0, 1e15]
    visit.master.answers_pings = False
    visit.greet(silence=LONG)
    order(visit, node, "once-before")
    last(visit)
    for moment in order_of_times:
        ping = visit.next("PING", LONG)
        visit.send({"type": "PONG", "timestamp": ping["timestamp"], "serverTime": moment})
        order(visit, node, "once-before")
        order(visit, node, "once-before", timestamp=moment)
    ping = visit.next("PING", LONG)
    visit.send({"type": "PONG", "timestamp": ping["timestamp"], "serverTime": visit.master.clock()})
    order(visit, node, "once-before")
    visit.master.answers_pings = True
    time.sleep(0.5)  # for the PONGs; there is no fact to wait on
    last(visit)


def many(visit: Visit, node: Node) -> None:
    """Ten thousand at once: each has one answer, most of them that it is too much."""
    visit.greet(silence=LONG)
    for number in range(AT_ONCE):
        visit.command("agent", "ping", id=f"many-{number}")
    until(lambda: len(answers(visit, "many-")) >= AT_ONCE, 2 * LONG, "every command is answered")
    assert len(set(answers(visit, "many-"))) == len(answers(visit, "many-")) == AT_ONCE
    last(visit)


def answers(visit: Visit, beginning: str) -> list[str]:
    return [text for text in visit.said if f'"requestId":"{beginning}' in text]


def rubbish(visit: Visit, node: Node) -> None:
    """What is no message, as often as a session bears."""
    visit.greet(silence=LONG)
    for bad in [*NO_JSON, "", "[]", "7", "null"][:MAX_RUBBISH]:
        whole = f'{{"id":"never","type":"EXEC_COMMAND","service":"system","action":"exec","params":{{"shell":{bad}}}}}'
        send(visit, whole if bad.strip("[]7nul") else bad)
    last(visit)


def fields(visit: Visit, node: Node) -> None:
    """Every text and number in every field of every message, many times a wrong one; no rubbish, which ends a session."""
    visit.greet(silence=LONG)
    for text in TEXTS:
        word = text[:64]
        visit.command(word, word)
        visit.command("system", word)
        visit.command("system", "exec", params={word: text})
        visit.command("system", "listProcesses", params={"cursor": text, "sort": text})
        visit.command("system", "exec", params={"argv": [f"/nowhere/{text}"]})
        visit.command("system", "exec", params={"argv": ["true"], "cwd": f"/nowhere/{text}"})
        visit.send({"type": word or "x", **TRAPS, "id": text})
    for value in [*NUMBERS, TRAPS]:
        for name in ("argv", "shell", "cwd", "env", "stdin"):
            visit.command("system", "exec", params={"argv": ["true"], name: value})
        for name in ("timeout", "stream", "params"):
            order(visit, node, f"maybe-{time.monotonic_ns()}", **{name: value})
    last(visit)


def timing(visit: Visit, node: Node) -> None:
    """Periods that are none, then ones that would keep a node busy."""
    for number in (0, -1, "1", True, [1], 10**400):
        visit.send({**ACK, "ping": number, "heartbeat": number, "silence": number})
    visit.send({**ACK, "ping": 1e-300, "heartbeat": 1e-300, "silence": 1e300, "serverTime": time.time()})
    visit.next("HELLO", LONG)
    began, before = time.monotonic(), len(visit.said)
    time.sleep(2)  # what it says meanwhile is counted
    assert len(visit.said) - before <= (time.monotonic() - began) * 25
    last(visit)
    for number in NUMBERS:  # a second greeting changes nothing
        visit.send({**ACK, "ping": 3600, "silence": 0.001, "limits": {"x": number}})
    last(visit)


def noise(visit: Visit, node: Node) -> None:
    """What nobody waits for, below the number that ends a session."""
    visit.greet(silence=LONG)
    for number in range(1500):
        visit.send(
            {"type": ("PONG", "CANCEL", "HELLO")[number % 3], "timestamp": number, "id": f"other-{number}"}
        )
    for _ in range(MAX_RUBBISH - 2):
        visit.socket.send(b"\0" * 13)
    order(visit, node, "once-after")
    visit.send({"type": "CANCEL", "id": "once-other"})
    visit.send({"type": "GOODBYE", "reason": "\n".join(TEXTS[:40]), "retryAfter": 0})
    last(visit)


def run_amok(visit: Visit, node: Node) -> None:
    """Programs that will not end, that leave others behind, and that print for ever; all are over with their time."""
    visit.greet(silence=LONG)
    lines = [
        "trap '' TERM HUP; sleep 997",
        "sleep 997 & sleep 997 &",
        "yes",
        "kill -STOP $$",
        "cat /dev/zero >&2",
    ]
    for number, line in enumerate(lines):
        visit.command("system", "exec", id=f"amok-{number}", timeout=0.5, params={"shell": line})
    for timeout in (1e300, -1, 0):
        visit.command("system", "exec", timeout=timeout, params={"argv": ["true"]})
    until(lambda: len(answers(visit, "amok-")) == len(lines), LONG, "all were stopped")
    for _, cmdline in processes():
        assert "sleep\0" + "997" not in cmdline
    last(visit)


def processes() -> Iterator[tuple[int, str]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_text(errors="replace")
        except OSError:  # it has just ended
            continue


QUESTIONS = [
    "env",
    "cat /proc/self/environ",
    "cat /proc/$PPID/environ",
    "cat /proc/$PPID/cmdline",
    "cat /proc/[0-9]*/environ",
    "cat /proc/[0-9]*/cmdline",
    "strings /proc/$PPID/environ; ps eww",
    "set",
    "ls -l /proc/$PPID/fd /proc/$PPID/cwd",
    "cat core* /proc/$PPID/task/*/environ",
]
MEMORY = "grep -E 'heap|rw-p' /proc/$PPID/maps; head -c 1 /proc/$PPID/mem; cat /proc/$PPID/auxv /proc/$PPID/syscall"


def ask_for_the_secret(visit: Visit, node: Node) -> None:
    """Every command, and what a program of the agent finds out about its parent."""
    visit.greet(silence=LONG)
    for name in ("agent.getConfig", "agent.ping", "system.getInfo", "system.getUsage"):
        assert visit.run(*name.split("."))["status"] == "success"
    visit.run("system", "listProcesses", params={"full": True, "limit": 200})
    for line in QUESTIONS:
        answer = visit.reply(visit.command("system", "exec", params={"shell": line}), LONG)
        assert answer["status"] == "success"
    wanted = dict.fromkeys(("AGENT_SECRET", "AGENT_ID", "MASTER_URL", "LD_BIND_NOW"), "x")
    answer = visit.run("system", "exec", params={"argv": ["env"], "env": wanted})
    assert "AGENT_SECRET=x" in answer["data"]["stdout"]  # what the panel gives is its own


def ask_as_nobody(visit: Visit, node: Node) -> None:
    """The same of an agent that is no root: its memory is closed to its programs too."""
    ask_for_the_secret(visit, node)
    answer = visit.run("system", "exec", params={"shell": MEMORY})["data"]
    assert answer["stdout"] == ""
    assert answer["stderr"].count("ermission denied") >= 3


TRICKS: dict[str, Callable[[Visit, Node], None]] = {
    trick.__name__: trick
    for trick in (
        twice,
        out_of_time,
        ids,
        clock,
        many,
        rubbish,
        fields,
        timing,
        noise,
        run_amok,
        ask_for_the_secret,
        *([ask_as_nobody] if os.geteuid() == 0 else []),
    )
}


# What is judged -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that nobody may use too, as the one of pytest is root's alone."""
    made = Path(tempfile.mkdtemp(prefix="yumna-evil-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def play(name: str, folder: Path) -> float:
    """Play a trick on an agent of its own, then be an honest panel; returns by how many MiB the agent grew."""
    node = Node(folder / name)
    inside = AS_NOBODY if name == ask_as_nobody.__name__ else ()
    with Master(greets=False) as master:
        agent = node.start(master, inside)
        try:
            evil = master.visit(LONG)
            watch = Watch(agent.process.pid)
            with watch.beside():
                TRICKS[name](evil, node)
                evil.socket.close(1012)
                honest = master.visit(LONG)
            honest.greet()
            serve_honestly(honest, node)
            assert agent.process.poll() is None
        finally:
            agent.stop()
    judge(node, agent.log, evil, honest)
    return watch.grown


def serve_honestly(visit: Visit, node: Node) -> None:
    """Ask for what ran before once more, and for something new."""
    for word in sorted(set(node.ran)):
        order(visit, node, word, id="x" * MAX_ID if word == "once-long" else word)
    order(visit, node, "once-honest")
    visit.next(lambda message: message.get("requestId") == "once-honest", LONG)
    last(visit)
    assert visit.run("agent", "ping")["data"]["pong"] is True


def judge(node: Node, log: str, *visits: Visit) -> None:
    ran = node.ran
    assert "once-honest" in ran
    assert not [word for word in ran if word.startswith("never")]
    assert len(ran) == len(set(ran)), ran
    said = "".join(text for visit in visits for text in visit.said)
    assert node.secret not in said + log
    assert [line for line in log.split("\n") if not line.isprintable()] == []
    assert "Traceback" not in log


def test_nothing_an_evil_panel_tries_has_an_effect(folder, seen):
    """All at once, each on an agent of its own."""

    def run(name: str) -> float:
        try:
            return play(name, folder)
        except Exception as exc:
            exc.add_note(f"{name}: {(folder / name / 'agent.log').read_text(errors='replace')[-3000:]}")
            raise

    with ThreadPoolExecutor(len(TRICKS)) as pool:
        running = {name: pool.submit(run, name) for name in TRICKS}
    failed = [one.exception() for one in running.values() if one.exception() is not None]
    if failed:
        raise ExceptionGroup("these had an effect", failed)
    grown = {name: one.result() for name, one in running.items()}
    seen("memory of an agent grew", max(grown.values()), "MiB", most=MORE_MEMORY)


LONGEST = {
    1012: RULES[Ending.LOST],
    4001: RULES[Ending.REPLACED],
    4003: RULES[Ending.REVOKED],
}


def test_no_panel_sends_an_agent_away_for_long(folder):
    """What it says of times in a GOODBYE, and with each close code; the log says when the agent comes back."""
    cases = [*((1012, number) for number in (1e300, 10**300, 3600)), *((code, 0) for code in LONGEST)]

    def run(case: tuple[int, float]) -> tuple[float, float]:
        code, retry_after = case
        most = LONGEST_GOODBYE * 1.5 if retry_after else LONGEST[code].cap * LONGEST[code].high
        with Master() as master:
            name = f"{code}-{int(bool(retry_after))}-{len(str(retry_after))}"
            agent = Node(folder / name).start(master)
            try:
                visit = master.visit(LONG)
                visit.next("HELLO", LONG)
                if retry_after:
                    visit.send({"type": "GOODBYE", "retryAfter": -1})
                    visit.send({"type": "GOODBYE", "retryAfter": retry_after})
                    last(visit)
                visit.socket.close(code)
                until(lambda: "next try in" in agent.log, LONG, agent.log)
                assert agent.process.poll() is None
                return float(re.findall(r"next try in ([\d.]+) s", agent.log)[-1]), most
            finally:
                agent.stop()

    with ThreadPoolExecutor(len(cases)) as pool:
        waits = list(pool.map(run, cases))
    print(waits)
    assert [wait for wait, most in waits if wait > most] == []
