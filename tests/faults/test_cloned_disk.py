"""A disk was cloned: two agents with one id. The newest is in, the other one waits, they take turns slowly, and people
are told by mail."""

import json
import time
import uuid
from collections.abc import Iterator
from email.header import decode_header, make_header

import pytest

from tests.e2e.basic_agent import BasicAgent
from tests.e2e.cluster import Cluster, until
from tests.e2e.real_agent import RealAgent
from tests.faults.counts import count, soaking
from tests.tunnel.receivers import Mails, Posts, mail_server, web_server
from tunnel.sessions import TWINS_AFTER

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

WATCHED = count(10.0, 300.0)  # seconds
LOOK = 0.5  # seconds between two looks at the routes
MOST_TURNS = 3  # in five minutes


@pytest.fixture(scope="module")
def mails() -> Iterator[Mails]:
    with mail_server() as made:
        yield made


@pytest.fixture(scope="module")
def posts() -> Iterator[Posts]:
    with web_server() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, mails, posts) -> Iterator[Cluster]:
    """With a background worker, which looks for such nodes from its tenth second on."""
    told = {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(mails.port),
        "DEFAULT_FROM_EMAIL": "Panel <panel@example.org>",
        "TUNNEL_ALERT_EMAILS": "ops@example.org",
        "TUNNEL_ALERT_WEBHOOK": posts.url,
    }
    made = Cluster(tmp_path_factory.mktemp("panel"), "uvicorn", **told)
    try:
        made.start("a", "b").start_background()
        yield made
    finally:
        made.stop()


def test_a_cloned_disk_makes_two_agents_take_turns_slowly(cluster, mails, tmp_path, seen):
    name = f"node-{uuid.uuid4()}"
    node, urls = (name, cluster.add(name)), [cluster.url("a"), cluster.url("b")]
    agents = []
    try:
        for number in range(2):
            agents.append(RealAgent(tmp_path / f"disk-{number}", urls, *node))
            until(lambda: "tunnel open" in agents[-1].log, 20, "the newest agent is in")
        came = time.monotonic()
        until(lambda: "another agent connected with this id" in agents[0].log, 10, agents[0].log)
        seen("the older agent leaves after", time.monotonic() - came, "s", most=1.0 if soaking() else 5.0)
        routes, turns = watch(cluster, name, came + WATCHED)
    finally:
        for agent in agents:
            agent.stop()
    seen("routes at once", max(routes), "routes", most=1)
    seen(f"turns within {WATCHED:g} s", turns, "turns", most=MOST_TURNS)
    told = "if two machines have this id" in cluster.log("a") + cluster.log("b")
    assert told is (turns >= MOST_TURNS), "an operator is told of it when it goes on"
    if told:
        until(lambda: any(name in subject for subject in subjects(mails)), 90, "and by mail")
    assert len([subject for subject in subjects(mails) if name in subject]) == int(told)


def subjects(mails: Mails) -> list[str]:
    """A long one is folded."""
    return [
        " ".join(str(make_header(decode_header(message["Subject"]))).split()) for _, message in mails.taken
    ]


def test_people_and_programs_are_told_of_a_node_that_is_two(cluster, mails, posts):
    """By a real mail server and a real web server: one message to each, whoever looks how often."""
    name = f"node-{uuid.uuid4()}"
    secret = cluster.add(name)
    agents = [BasicAgent(cluster.url("ab"[turn % 2]), name, secret) for turn in range(TWINS_AFTER + 1)]
    assert [agent.closed(10) for agent in agents[:-1]] == [4001] * TWINS_AFTER
    wanted = f"Yumna Tunnel: {name} seems to be two machines"
    until(lambda: wanted in subjects(mails) and posts.taken, 90, cluster.log("background"))
    kept = "FROM tunnel_lease JOIN servers ON tunnel_lease.name = 'twins-' || servers.id"
    until(lambda: cluster.sql(f"SELECT 1 {kept} WHERE agent_id = '{name}'"), 10, "it is written down")
    recipients, message = mails.taken[subjects(mails).index(wanted)]
    assert (recipients, message["To"]) == (["ops@example.org"], "ops@example.org")
    assert (
        f"{name} ({name}): its connections replace each other since"
        in message.get_payload(decode=True).decode()
    )
    told = [json.loads(body) for _, _, body in posts.taken]
    assert [
        (one["event"], one["nodes"][0]["agent_id"]) for one in told if one["nodes"][0]["name"] == name
    ] == [("nodes.twins", name)]
    agents[-1].stop()


def watch(cluster: Cluster, name: str, until_then: float) -> tuple[list[int], int]:
    """Return how many routes there were at each look, and how often an agent took over."""
    mine = f"FROM tunnel_session JOIN servers ON servers.id = server_id WHERE agent_id='{name}'"
    routes = []
    while (left := until_then - time.monotonic()) > 0:
        ((number,),) = cluster.sql(f"SELECT COUNT(*) {mine} AND closed_at IS NULL")
        routes.append(number)
        assert "data" in cluster.get("a", f"/test/thread/{name}/agent.ping")
        time.sleep(min(LOOK, left))  # a look, not a wait: it ends with its time
    ((turns,),) = cluster.sql(f"SELECT COUNT(*) {mine} AND close_reason='replaced'")
    return routes, turns
