"""docs/protocol.md says what the code does."""

import json
import re

import pytest

from agent_client.figures import Sampler, best_source
from agent_client.protocol import AgentSession, MasterSession, limits
from agent_client.protocol.codes import AGENT_CODES, NOT_RUN_CODES, UNKNOWN_OUTCOME_CODES, CloseCode, Code
from agent_client.protocol.frames import Kind
from agent_client.protocol.handshake import CHECK_SUBPROTOCOL, ID_HEADER, PATH, SECRET_HEADER, SUBPROTOCOL
from agent_client.protocol.limits import Timing
from agent_client.protocol.messages import (
    FROM_AGENT,
    FROM_MASTER,
    Cancel,
    Command,
    Goodbye,
    HandshakeAck,
    Heartbeat,
    Hello,
    NodeEvent,
    Ping,
    Pong,
    Reply,
)
from agent_client.protocol.replay import ReplayGuard
from agent_client.protocol.streams import STEPS, State, Step
from agent_client.services import agent as agent_service
from agent_client.services import system as system_service
from agent_client.services.shell import LARGEST_SIDE, LARGEST_WINDOW, ShellService
from agent_client.shells import MOST_SHELLS, Times
from agent_client.shells.ring import LIMIT
from agent_client.shells.shell import AHEAD, MOST_VIEWERS
from agent_client.watch import MOST, Watch
from tests.agent.test_hostile_master import WRONG
from tests.docs.pages import blocks, page, rows, words
from tests.faults.test_floods import ATTACKS, GONE
from tests.protocol.ends import FACTS
from tunnel import attempts, letters, links, relaying, trials
from tunnel import bus as bus_module
from tunnel import switchboard as switchboard_module

TEXT = page("docs/protocol.md")
SENT = {
    "HANDSHAKE_ACK": HandshakeAck("s", 1.0),
    "HELLO": Hello("s", "1"),
    "EXEC_COMMAND": Command("i", "s", "a", 1.0, {"x": 1}, timeout=1.0, stream=1),
    "GET_STATS": Command("i", "s", "a", 1.0, short=True),
    "CANCEL": Cancel("i"),
    "PING": Ping(1.0),
    "PONG": Pong(1.0, 1.0),
    "HEARTBEAT": Heartbeat({}),
    "EVENT": NodeEvent("n"),
    "GOODBYE": Goodbye("r", 1.0),
}


def test_every_message_stands_in_the_table_with_its_members_and_no_other():
    table = {
        (words(kind) or ["reply"])[0] if "reply" not in kind else "reply": members
        for _, kind, members, _ in rows(TEXT, "direction")
    }
    assert set(table) == {*FROM_MASTER, *FROM_AGENT, "reply"}
    for name, message in SENT.items():
        sent = set(json.loads(message.to_text())) - {"type"}
        assert set(words(table[name])) == sent, name
    failed = json.loads(Reply("i", code=Code.BUSY, error="x").to_text())
    assert set(words(table["reply"])) == set(failed)


def test_each_direction_is_the_one_the_code_takes():
    for direction, kind, _, _ in rows(TEXT, "direction"):
        if "reply" not in kind:
            assert words(kind)[0] in (FROM_MASTER if direction == "M→A" else FROM_AGENT)


def test_the_examples_are_what_the_code_sends_and_takes():
    request, reply = (json.loads(block) for block in blocks(TEXT, "json"))
    command = Command.from_members(request)
    assert json.loads(command.to_text()) == request
    assert json.loads(Reply.from_members(reply).to_text()) == reply


def test_every_code_stands_on_its_side():
    agents, masters = set(), []
    for codes, side, _ in rows(TEXT, "code"):
        if side == "agent":
            agents |= set(words(codes))
        else:
            masters.append(set(words(codes)))
    assert agents == {code.value for code in AGENT_CODES}
    assert masters == [{c.value for c in NOT_RUN_CODES}, {c.value for c in UNKNOWN_OUTCOME_CODES}]


def test_every_close_code_of_ours_is_told():
    told = {int(row[0]) for row in rows(TEXT, "close code")}
    assert told == {int(code) for code in CloseCode if code >= 4000} | {1000}


def test_every_code_that_bad_input_is_closed_with_is_told():
    met = {code for attack in ATTACKS.values() for code in attack.codes} - set(GONE)
    met |= {code for _, code in WRONG.values()}
    assert {1002, 1007, 1009, 4008} <= met
    assert [code for code in met if not re.search(rf"\b{code}\b", TEXT)] == []


def test_every_frame_kind_is_told():
    assert {(int(number), name) for number, name, _, _ in rows(TEXT, "kind")} == {
        (k.value, k.name) for k in Kind
    }


def test_the_states_of_a_stream_are_those_of_the_code():
    columns = [Step.SEND, Step.SEND_END, Step.TAKE, Step.TAKE_END, Step.RESET]
    told = {
        (State(words(row[0])[0]), step): State(words(cell)[0])
        for row in rows(TEXT, "state")
        for step, cell in zip(columns, row[1:], strict=True)
        if words(cell)
    }
    assert told == STEPS


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        (r"1 to (\d+) characters; ours are uuid4", limits.MAX_ID),
        (r"text message has at most (\d+) KiB", limits.MAX_TEXT // 1024),
        (r"a binary one 256 KiB \+ (\d+) bytes", limits.MAX_BINARY - 256 * 1024),
        (r"JSON nests at most (\d+) deep", limits.MAX_DEPTH),
        (r"more than (\d+) in a minute", limits.MAX_RUBBISH),
        (r"more than ([\d,]+) messages in a second", limits.MAX_MESSAGES_PER_SECOND),
        (r"At most ([\d,]+) commands await", limits.MAX_PENDING),
        (r"more than (\d+) s old", limits.MAX_AGE),
        (r"At most ([\d,]+) are held", limits.MAX_REMEMBERED_IDS),
        (r"answers `HELLO` within (\d+) s", limits.HELLO_TIMEOUT),
        (r"closes with 1000, (\d+) s after accept", trials.LONGEST),
        (r"One worker has at most (\d+) of them", trials.MAX_UNDER_WAY),
        (r"basic agents: (\d+) heartbeats", limits.BASIC_SILENCE_FACTOR),
        (r"initial windows are (\d+) KiB", limits.INITIAL_WINDOW // 1024),
        (r"both 0 to ([\d,]+) KiB", limits.MAX_WINDOW // 1024),
        (r"grants more than ([\d,]+) KiB above what was sent", limits.MAX_WINDOW // 1024),
        (r"with each WINDOW, up to ([\d,]+) KiB", limits.MAX_WINDOW // 1024),
        (r"at most (\d+) times the least", limits.CALM_FACTOR),
        (r"least of the last (\d+)", limits.CALM_KEPT),
        (r"of the last 8 \+ ([\d.]+) s", limits.CALM_SLACK),
        (r"holds at most (\d+) streams", limits.MAX_STREAMS),
        (r"hold at most (\d+) MiB in each direction", limits.MAX_WINDOWS // 2**20),
        (r"so that (\d+) MiB wait for it", limits.MAX_WINDOWS // 2**20),
        (r"(\d+) KiB are kept for each stream", limits.SMALLEST_WINDOW // 1024),
        (r"the bytes, at most (\d+) KiB", limits.MAX_DATA // 1024),
        (r"END and RESET has at most (\d+) KiB", limits.MAX_DETAIL // 1024),
        (r"WINDOWs that grant less than (\d+) KiB", limits.SMALL_GRANT // 1024),
        (r"About (\d+) KiB of frames are taken at a time", limits.SEND_AT_ONCE // 1024),
        (r"(\d+)-byte header", limits.FRAME_HEADER),
        (r"(\d+) a minute of one \(address, id\)", attempts.MAX_PER_PAIR),
        (r"(\d+) of one address except", attempts.MAX_PER_ADDRESS),
        (r"At most (\d+) programs and shells", MOST),
        (r"`cols` and `rows` are 1 to (\d+)", LARGEST_SIDE),
        (r"`window` is at most (\d+) KiB", LARGEST_WINDOW // 1024),
        (r"the last (\d+) MiB do not reach", LIMIT // 1024**2),
        (r"At most (\d+) look at one shell", MOST_VIEWERS),
        (r"at most (\d+) shells are open", MOST_SHELLS),
        (r"may type is (\d+) KiB behind", AHEAD // 1024),
        (r"before a byte is lost for (\d+) s", Times(0).hold),
        (r"For another (\d+) s it can be attached", Times(0).ended),
        (r"kills (\d+) s later what is left", Times(0).grace),
        (r"at most (\d+) envelopes", letters.MAX_ENVELOPES),
        (r"a letter takes (\d+) KiB of them", links.BULK_LETTER // 1024),
        (r"a frame that waited (\d+) s", relaying.FRAME_WITHIN),
        (r"has not known for (\d+) s", relaying.SETTLED),
        (r"a (\d+)-byte BLAKE2b", letters.SEAL_BYTES),
        (r"(\d+) s of silence end it too", switchboard_module.LINK_SILENCE),
        (r"at most ([\d.]+) s after it was made", bus_module.SEND_WITHIN),
    ],
)
def test_a_number_of_the_page_is_the_number_of_the_code(sentence, value):
    found = re.search(sentence, TEXT)
    assert found, f"no sentence like {sentence!r}"
    assert float(found[1].replace(",", "")) == value


def test_the_handshake_uses_the_names_of_the_page():
    for name in (
        f"GET {PATH} ",
        f"{ID_HEADER}: ",
        f"{SECRET_HEADER}: ",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        f"`{CHECK_SUBPROTOCOL}`",
        f"the session `{trials.NAME}`",
    ):
        assert name in TEXT


def test_the_agents_actions_and_their_parameters_are_those_of_the_page(tmp_path):
    from agent_client.settings import load

    environment = {
        "MASTER_URL": "wss://master-panel.com",
        "AGENT_ID": "agent-home-server",
        "AGENT_SECRET": "rahasiadapur",
    }
    settings = load(environment, local_file=tmp_path / "none", system_file=tmp_path / "none")
    services = [
        system_service.service(Sampler(best_source())),
        ShellService(settings, Watch()).service(),
        agent_service.service(settings, tuple),
    ]
    built = {
        f"{service.name}.{action.name}": {param.name for param in action.params}
        for service in services
        for action in service.actions
    }
    told = {words(action)[0]: set(words(params)) for action, params, _ in rows(TEXT, "action")}
    assert told == built


def test_the_figures_of_a_real_machine_are_those_of_the_page():
    told = next(set(words(answer)) for action, _, answer in rows(TEXT, "action") if "getUsage" in action)
    sampler = Sampler(best_source())
    sampler.start()
    try:
        assert set(sampler.usage()) == told
    finally:
        sampler.stop(5)


def test_both_ends_start_with_the_timing_of_the_code():
    master = MasterSession("s", now=0.0, wall=0.0, basic=False)
    ack = json.loads(str(master.to_send()[0]))
    assert (ack["ping"], ack["silence"], ack["heartbeat"]) == (
        Timing().ping,
        Timing().silence,
        Timing().heartbeat,
    )
    assert AgentSession(FACTS, ReplayGuard(), now=0.0).timing == Timing()


def test_links_are_told_by_the_names_of_the_code():
    assert links.Arrival.GAP.value == "gap"
    assert "epoch" in TEXT
