"""The agent against a real master over real sockets."""

import json
import logging
import os
import socket
import threading
import time

import pytest
from websockets.frames import CloseCode

from agent_client.conversation import Conversation
from agent_client.inbox import LIMIT
from agent_client.link import DEAF_LOOKS
from tests.agent.real_master import PATIENCE, Master

TEN_YEARS = 10 * 365 * 86_400.0


@pytest.fixture
def master():
    with Master() as one:
        yield one


def url(master, scheme: str = "ws", host: str = "127.0.0.1") -> str:
    return f"{scheme}://{host}:{master.port}/tunnel"


def wait_for(fact, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not fact():
        assert time.monotonic() < deadline, "the fact did not come true in time"
        threading.Event().wait(0.01)


def test_the_agent_shows_its_id_and_secret_and_offers_the_protocol(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    assert visit.path == "/tunnel"
    assert visit.headers.get_all("X-Agent-ID") == ["agent-home-server"]
    assert visit.headers.get_all("X-Agent-Secret") == ["rahasiadapur"]
    assert visit.headers["Sec-WebSocket-Protocol"] == "yumna.tunnel.v1"
    assert "Origin" not in visit.headers
    assert "Sec-WebSocket-Extensions" not in visit.headers


def test_hello_and_a_first_heartbeat_follow_the_ack(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    hello = visit.next("HELLO")
    assert hello["session"] == "s-1"
    assert hello["capabilities"] == ["agent", "shell", "system"]
    assert set(hello["host"]) == {"hostname", "platform", "arch", "python"}
    assert len(hello["machineId"]) in (0, 64)
    usage = visit.next("HEARTBEAT")["data"]
    assert 0 <= usage["cpu"] <= 100
    assert usage["ram"] > 0


def test_heartbeats_go_on_at_the_told_pace(start_agent):
    with Master(heartbeat=0.3) as master:
        start_agent(url(master))
        visit = master.visit()
        started = time.monotonic()
        for _ in range(4):
            visit.next("HEARTBEAT")
        assert 0.6 <= time.monotonic() - started < 3.0


def test_pings_carry_the_round_trip_measured_last(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    assert visit.next("PING")["rtt"] is None
    assert 0 <= visit.next(lambda message: message.get("rtt") is not None)["rtt"] < 1


def test_the_reply_is_exactly_as_documented(master, start_agent):
    start_agent(url(master))
    reply = master.visit().run("agent", "ping", id="0b7c")
    assert reply == {
        "requestId": "0b7c",
        "status": "success",
        "data": {"pong": True, "version": reply["data"]["version"]},
        "error": None,
    }


def test_get_stats_is_answered_with_both_ids(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    visit.send({"type": "GET_STATS", "id": "stats-1"})
    reply = visit.reply("stats-1")
    assert reply["id"] == "stats-1"
    assert reply["data"]["ramTotal"] > 0


def test_a_master_that_selects_no_subprotocol_is_served(start_agent):
    with Master() as master:
        master._server.handler  # noqa: B018 - the server stands
        start_agent(url(master))
        assert master.visit().run("agent", "ping")["status"] == "success"


@pytest.mark.parametrize(
    ("service", "action", "params", "code", "word"),
    [
        ("nothing", "ping", {}, "unknown_service", "nothing"),
        ("agent", "fly", {}, "unknown_action", "fly"),
        ("system", "exec", {"argv": "ls"}, "invalid_params", "argv"),
        ("system", "exec", {"argv": ["ls"], "stream": 1}, "invalid_params", "stream"),
        ("system", "listProcesses", {"limit": 0}, "invalid_params", "limit"),
    ],
)
def test_a_wrong_command_is_answered_with_its_code(master, start_agent, service, action, params, code, word):
    start_agent(url(master))
    reply = master.visit().run(service, action, params=params)
    assert (reply["status"], reply["code"]) == ("error", code)
    assert word in reply["error"]


def test_an_old_command_is_not_run(master, start_agent, tmp_path):
    start_agent(url(master))
    trace = tmp_path / "trace"
    reply = master.visit().run("system", "exec", age=31, params={"argv": ["touch", str(trace)]})
    assert reply["code"] == "expired"
    assert not trace.exists()


def test_a_repeated_command_runs_once_even_after_a_reconnect(master, start_agent, tmp_path):
    start_agent(url(master))
    trace = tmp_path / "trace"
    params = {"shell": f"echo run >> {trace}"}
    visit = master.visit()
    assert visit.run("system", "exec", id="c-1", params=params)["status"] == "success"
    assert visit.run("system", "exec", id="c-1", params=params)["code"] == "duplicate"
    visit.socket.close(1012)
    assert master.visit().run("system", "exec", id="c-1", params=params)["code"] == "duplicate"
    assert trace.read_text() == "run\n"


@pytest.mark.parametrize("skew", [-TEN_YEARS, TEN_YEARS])
def test_a_clock_ten_years_off_changes_nothing(start_agent, skew):
    with Master(greets=False) as master:
        master.clock = lambda: time.time() + skew
        start_agent(url(master))
        visit = master.visit()
        visit.greet()
        assert visit.run("agent", "ping")["status"] == "success"
        assert visit.run("agent", "ping", age=31)["code"] == "expired"


def test_cancel_kills_a_running_command(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    command = visit.command("system", "exec", params={"argv": ["sleep", "60"]})
    visit.run("agent", "ping")  # the sleep has begun or waits for a thread; both must end
    visit.send({"type": "CANCEL", "id": command})
    assert visit.reply(command)["code"] == "cancelled"


def test_beyond_the_bound_commands_are_refused_and_the_link_lives(master, start_agent):
    agent = start_agent(url(master))
    visit = master.visit()
    sleep = {"argv": ["sleep", "60"]}
    running = [visit.command("system", "exec", params=sleep) for _ in agent.pool._threads]
    wait_for(lambda: len(agent.pool._running) == len(running))
    waiting = [visit.command("system", "exec", params=sleep) for _ in range(agent.pool._limit)]
    assert visit.run("system", "exec", params=sleep)["code"] == "busy"
    assert visit.next("PING")  # a full pool delays no liveness
    for command in waiting + running:  # in this order, so that no waiting one takes a freed thread
        visit.send({"type": "CANCEL", "id": command})
    for _command in waiting + running:
        assert visit.next(lambda message: "requestId" in message)["code"] == "cancelled"


def test_a_slow_command_delays_no_quick_one(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    slow = visit.command("system", "exec", params={"argv": ["sleep", "60"]})
    started = time.monotonic()
    assert visit.run("agent", "ping")["status"] == "success"
    assert time.monotonic() - started < 2
    visit.send({"type": "CANCEL", "id": slow})


def test_a_command_outlives_its_session_and_its_reply_is_dropped(master, start_agent, tmp_path):
    start_agent(url(master))
    gate, trace = tmp_path / "gate", tmp_path / "trace"
    os.mkfifo(gate)
    visit = master.visit()
    command = visit.command("system", "exec", params={"shell": f"cat {gate}; echo done > {trace}"})
    visit.run("agent", "ping")
    visit.socket.close(1012)
    visit = master.visit()
    gate.write_text("go")
    wait_for(lambda: trace.exists() and trace.read_text() == "done\n")
    visit.run("agent", "ping")
    assert not [message for message in list(visit.messages.queue) if message.get("requestId") == command]


def test_a_reply_that_fits_no_message_is_too_large(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    noise = {"argv": ["head", "-c", "200000", "/dev/zero"]}
    reply = visit.run("system", "exec", params=noise)  # zeros take six characters each in JSON
    assert reply["status"] == "success"
    assert reply["data"]["truncated"]
    assert len(json.dumps(reply)) < 256 * 1024


def test_a_websocket_ping_is_answered(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    assert visit.socket.ping(b"are you there").wait(PATIENCE)


def test_a_master_that_falls_silent_is_noticed(start_agent):
    with Master(silence=0.6, ping=0.2) as master:
        start_agent(url(master))
        visit = master.visit()
        visit.next("PING")
        master.answers_pings = False
        assert visit.over.wait(5)
        assert visit.messages.queue[0]["last"] is None
        last = master.visit().next("HELLO")["last"]  # the agent is back, and says why it was away
    assert last["reason"] == "nothing was heard for 0.6 s"
    assert 0 <= last["away"] < PATIENCE


def test_a_master_that_never_greets_is_left(start_agent, monkeypatch):
    monkeypatch.setattr("agent_client.conversation.ACK_TIMEOUT", 0.3)
    with Master(greets=False) as master:
        start_agent(url(master))
        visit = master.visit()
        assert visit.over.wait(5)


def test_goodbye_is_honoured(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    visit.next("HELLO")
    visit.send({"type": "GOODBYE", "reason": "restart", "retryAfter": 1.0})
    started = time.monotonic()
    visit.socket.close(4012)
    assert master.visit()
    assert 0.9 < time.monotonic() - started < 5


def test_commands_are_answered_between_goodbye_and_close(master, start_agent):
    start_agent(url(master))
    visit = master.visit()
    visit.send({"type": "GOODBYE", "reason": "restart", "retryAfter": 1.0})
    assert visit.run("agent", "ping")["status"] == "success"


@pytest.mark.parametrize("code", [1000, 1001, 1012, 4002, 4008, 4012, 4999])
def test_the_agent_comes_back_after_a_close(master, start_agent, code):
    start_agent(url(master))
    master.visit().socket.close(code)
    assert master.visit()


@pytest.mark.parametrize("code", [4001, 4003])
def test_a_replaced_or_revoked_agent_waits(master, start_agent, caplog, code):
    caplog.set_level(logging.INFO)
    start_agent(url(master))
    master.visit().socket.close(code)
    assert master.nobody_comes(1.0)
    assert any("tunnel closed" in line and str(code) in line for line in caplog.messages)


def test_a_refused_agent_waits_and_says_what_to_check(start_agent, caplog):
    with Master() as master:
        master.refusal = (403, {})
        start_agent(url(master))
        assert master.tries.acquire(timeout=PATIENCE)
        wait_for(lambda: any("no tunnel" in line for line in caplog.messages))
        assert not master.tries.acquire(timeout=1.0)
        (line,) = [line for line in caplog.messages if "no tunnel" in line]
        for word in ("AGENT_ID", "AGENT_SECRET", "suspended", "connection type"):
            assert word in line
        assert "rahasiadapur" not in caplog.text


@pytest.mark.parametrize("status", [500, 502, 503, 404, 429])
def test_trouble_of_the_master_is_tried_again_soon(start_agent, status):
    with Master() as master:
        master.refusal = (status, {})
        start_agent(url(master))
        assert master.tries.acquire(timeout=PATIENCE)
        assert master.tries.acquire(timeout=PATIENCE)
        master.refusal = None
        assert master.visit()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leaks_nothing(start_agent, status, caplog):
    with Master() as master, socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.5)
        master.refusal = (status, {"Location": f"ws://127.0.0.1:{other.getsockname()[1]}/tunnel"})
        start_agent(url(master))
        assert master.tries.acquire(timeout=PATIENCE)
        with pytest.raises(TimeoutError):
            other.accept()
        assert "redirect" in caplog.text


def test_the_next_master_is_tried_when_one_is_gone(master, start_agent):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = taken.getsockname()[1]
    start_agent(f"ws://127.0.0.1:{gone}/tunnel", url(master))
    assert master.visit().run("agent", "ping")["status"] == "success"


def test_the_last_good_master_is_tried_first(start_agent):
    with Master() as first, Master() as second:
        first.refusal = (503, {})
        start_agent(url(first), url(second))
        visit = second.visit()
        visit.next("HELLO")
        first.refusal = None
        visit.socket.close(1012)
        assert second.visit()
        assert first.nobody_comes(0.2)


def test_the_log_tells_the_story_without_the_secret(master, start_agent, caplog):
    caplog.set_level(logging.DEBUG)
    agent = start_agent(url(master))
    visit = master.visit()
    visit.run("system", "exec", params={"shell": "echo whispered"})
    agent.stop()
    assert visit.over.wait(PATIENCE)
    story = [record for record in caplog.records if record.name == "agent.link"]
    assert [record.levelname for record in story] == ["INFO", "INFO"]
    assert all("agent=agent-home-server session=s-1" in record.getMessage() for record in story)
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("agent"))
    assert "rahasiadapur" not in ours  # the master's own debug log, which pytest sees too, prints headers
    assert "whispered" not in ours


def test_what_a_master_says_cannot_forge_a_log_line(start_agent, caplog):
    caplog.set_level(logging.INFO)
    forged = "x\nINFO forged \x1b[2J"
    with Master(session=forged) as master:
        start_agent(url(master))
        master.visit().socket.close(4999, forged)
        wait_for(lambda: "tunnel closed" in caplog.text)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("agent")]
    assert all(line.isprintable() for line in ours)
    assert len([line for line in ours if "session=x?INFO forged" in line]) >= 2  # it comes back at once


def test_stopping_says_goodbye_with_1000_and_ends_all_threads(master, start_agent):
    agent = start_agent(url(master))
    visit = master.visit()
    visit.next("HELLO")
    visit.command("system", "exec", params={"argv": ["sleep", "60"]})
    started = time.monotonic()
    agent.stop()
    assert time.monotonic() - started < 4
    assert visit.over.wait(PATIENCE)
    assert visit.socket.close_code == CloseCode.NORMAL_CLOSURE
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("agent-")]


def test_an_agent_without_a_network_stops_at_once(start_agent):
    agent = start_agent("ws://127.0.0.1:1/tunnel", jitter=lambda _low, high: high)
    started = time.monotonic()
    agent.stop()
    assert time.monotonic() - started < 2


def test_a_link_hears_each_look_whatever_it_waits_for(master, start_agent):
    def hears(agent) -> None:
        for _ in range(DEAF_LOOKS + 2):
            before = agent.link._wakeup.heard
            assert agent.link.trouble() is None
            wait_for(lambda before=before: agent.link._wakeup.heard > before)

    agent = start_agent(url(master))
    master.visit().next("HELLO")
    hears(agent)
    pausing = start_agent("ws://127.0.0.1:1/tunnel", jitter=lambda _low, high: high)
    hears(pausing)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        dialling = start_agent(f"ws://127.0.0.1:{mute.getsockname()[1]}/tunnel")
        with mute.accept()[0]:
            hears(dialling)


def test_a_link_that_hears_no_look_is_named(master, start_agent, monkeypatch):
    agent, over = start_agent(url(master)), threading.Event()
    visit = master.visit()
    visit.next("HELLO")
    hangs = threading.Event()

    def hang(_self: Conversation) -> None:
        hangs.set()
        over.wait()

    monkeypatch.setattr(Conversation, "_step", hang)
    try:
        agent.link._wakeup.wake()
        assert hangs.wait(PATIENCE)
        looks = [agent.link.trouble() for _ in range(DEAF_LOOKS + 1)]
        assert looks[: DEAF_LOOKS - 1] == [None] * (DEAF_LOOKS - 1)
        assert looks[-1] == "the link's thread hangs"
    finally:
        monkeypatch.undo()
        over.set()
    assert agent.link.alive


def test_a_master_that_does_not_read_is_not_read_from(start_agent):
    """Replies pile up to a bound, then commands stay unread in the kernel, and nothing grows in the agent."""
    with Master(silence=30) as master:
        agent = start_agent(url(master))
        visit = master.visit()
        visit.next("HELLO")
        visit.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        master.reading.clear()
        asked = {
            visit.command("system", "exec", params={"shell": "head -c 60000 /dev/zero | tr '\\0' x"})
            for _ in range(70)
        }
        wait_for(lambda: len(agent.link._staff.inbox._entries) == LIMIT)
        assert agent.link.alive
        master.reading.set()
        answered = [visit.next(lambda message: "requestId" in message) for _ in asked]
        assert {reply["requestId"] for reply in answered} == asked
        assert {reply.get("code", "ok") for reply in answered} <= {"ok", "busy"}
