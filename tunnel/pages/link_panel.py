"""The panel about one server's link: who is connected from where, and what happened last, in the words of both ends."""

from typing import Final, TypedDict

from servers.models import Server
from servers.text import visible
from tunnel import history
from tunnel.models import Session
from tunnel.pages import server_words, words
from tunnel.pages.cards import Card
from tunnel.presence import Presence, State

EVENTS: Final = 12
MAX_FACT: Final = 120  # characters of what a node says of itself

# The facts of HELLO's `host` that are shown beside the card's.
_HOST_FACTS: Final = ("hostname", "arch")


class Event(TypedDict):
    """One thing that happened on the link."""

    kind: str
    at: float
    what: str
    detail: str
    address: str
    by_agent: str
    times: str


class Panel(TypedDict):
    """What is known of the link; what is not known is empty."""

    session: str
    worker: str
    address: str
    protocol: str
    hostname: str
    arch: str
    reason: str
    detail: str
    advice: str
    events: list[Event]


def read(server: Server, card: Card, there: Presence) -> Panel:
    """Return the panel of a server, in three queries."""
    live = there.state is State.ACTIVE
    host = server.host_facts if isinstance(server.host_facts, dict) else {}
    facts = {name: visible(host.get(name) or "")[:MAX_FACT] for name in _HOST_FACTS}
    return {
        "session": str(there.session) if live else "",
        "worker": visible(there.worker) if live else "",
        "address": there.address if live else "",
        "protocol": _protocol(there) if live else "",
        "hostname": facts["hostname"],
        "arch": facts["arch"],
        "reason": words.reason(card),
        "detail": visible(there.close_detail),
        "advice": words.advice(card),
        "events": [_event(event) for event in history.link_events(server, EVENTS)],
    }


def _protocol(there: Presence) -> str:
    basic = Session.objects.filter(pk__in=[there.session]).values_list("basic", flat=True).first()
    return "" if basic is None else server_words.protocol(basic=basic)


def _event(event: history.LinkEvent) -> Event:
    return {
        "kind": str(event.kind),
        "at": round(event.at.timestamp(), 3),
        "what": server_words.happened(event),
        "detail": visible(event.detail),
        "address": visible(event.address),
        "by_agent": visible(server_words.by_agent(event)),
        "times": server_words.how_often(event.times),
    }
