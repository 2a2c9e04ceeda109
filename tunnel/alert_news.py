"""What people and programs are told of nodes that went away, came back, or are two: one message for many of them."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.urls import NoReverseMatch, reverse
from django.utils import formats, timezone, translation
from django.utils.translation import gettext, ngettext

from servers.text import visible
from tunnel.conf import settings
from tunnel.models import CloseReason

MAX_LINES: Final = 50  # nodes a mail names; a person reads no more
MAX_NODES: Final = 500  # nodes a webhook's body names, about 150 KB
MAX_SUBJECT: Final = 120  # characters; a name alone may have 100


class Kind(Enum):
    """What the nodes did."""

    OFFLINE = "nodes.offline"
    BACK = "nodes.back"
    TWINS = "nodes.twins"


@dataclass(frozen=True)
class Absence:
    """One node that is or was away; `until` is when it was looked at, or seen again.

    Of a node that is two they are when its sessions began to replace each other, and did so last.
    """

    server: int
    name: str
    agent_id: str
    since: datetime
    until: datetime
    reason: str = ""  # a CloseReason

    @property
    def outage(self) -> str:
        """A word for this absence, the same in the news of its end."""
        return f"{self.server}-{int(self.since.timestamp() * 1000)}"

    @property
    def seconds(self) -> int:
        """How long it lasted so far."""
        return max(0, round((self.until - self.since).total_seconds()))


@dataclass(frozen=True)
class News:
    """One message."""

    kind: Kind
    nodes: tuple[Absence, ...]
    at: datetime

    @property
    def id(self) -> str:
        """The same for the same news, should it be sent twice by a process that died between."""
        told = "\n".join([self.kind.value, *sorted(node.outage for node in self.nodes)])
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    def subject(self) -> str:
        """Return one line without anything in it that could start another one."""
        with translation.override(django_settings.LANGUAGE_CODE):
            return f"Yumna Tunnel: {self._headline()}"[:MAX_SUBJECT]

    def text(self) -> str:
        """Return the mail's text."""
        with translation.override(django_settings.LANGUAGE_CODE):
            left = len(self.nodes) - MAX_LINES
            lines = [self._line(node) for node in self.nodes[:MAX_LINES]]
            if left > 0:
                lines.append(ngettext("and %d more", "and %d more", left) % left)
            address = panel_address()
            return "\n".join([*lines, *(["", address] if address else []), ""])

    def body(self) -> dict[str, Any]:
        """Return the webhook's JSON, in no language but for the words of the reason."""
        with translation.override(django_settings.LANGUAGE_CODE):
            return {
                "event": self.kind.value,
                "id": self.id,
                "at": _rfc3339(self.at),
                "panel": panel_address(),
                "count": len(self.nodes),
                "nodes": [_member(node) for node in self.nodes[:MAX_NODES]],
            }

    def _headline(self) -> str:
        number = len(self.nodes)
        if number == 1:
            sentence = {
                Kind.OFFLINE: gettext("%s is offline"),
                Kind.BACK: gettext("%s is back"),
                Kind.TWINS: gettext("%s seems to be two machines"),
            }[self.kind]
            return sentence % visible(self.nodes[0].name)
        sentence = {
            Kind.OFFLINE: ngettext("%d node is offline", "%d nodes are offline", number),
            Kind.BACK: ngettext("%d node is back", "%d nodes are back", number),
            Kind.TWINS: ngettext(
                "%d node seems to be two machines", "%d nodes seem to be two machines each", number
            ),
        }[self.kind]
        return sentence % number

    def _line(self, node: Absence) -> str:
        facts = {
            "name": visible(node.name),
            "agent": visible(node.agent_id),
            "since": _local(node.since),
            "minutes": max(1, round(node.seconds / 60)),
            "reason": _words(node.reason),
        }
        if self.kind is Kind.OFFLINE:
            return gettext("%(name)s (%(agent)s): offline since %(since)s, %(reason)s") % facts
        if self.kind is Kind.TWINS:
            sentence = gettext(
                "%(name)s (%(agent)s): its connections replace each other since %(since)s; if two machines have "
                "this agent ID, such as a disk and its copy, give each one of its own"
            )
            return sentence % facts
        return gettext("%(name)s (%(agent)s): back, was away since %(since)s for %(minutes)d min") % facts


def panel_address() -> str:
    """Return the address of the page about nodes; empty when TUNNEL_PUBLIC_URL does not tell where the panel is."""
    parts = urlsplit(settings.PUBLIC_URL)
    scheme = {"https": "https", "wss": "https", "http": "http", "ws": "http"}.get(parts.scheme)
    try:
        path = reverse("tunnel:nodes")
    except NoReverseMatch:  # a panel without an admin
        path = "/"
    return f"{scheme}://{parts.netloc}{path}" if scheme and parts.netloc else ""


def _member(node: Absence) -> dict[str, Any]:
    return {
        "agent_id": visible(node.agent_id),
        "name": visible(node.name),
        "outage": node.outage,
        "since": _rfc3339(node.since),
        "until": _rfc3339(node.until),
        "away_seconds": node.seconds,
        "reason": node.reason,
        "reason_words": _words(node.reason) if node.reason else "",
    }


def _words(reason: str) -> str:
    return str(CloseReason(reason).label) if reason in CloseReason.values else gettext("reason unknown")


def _local(moment: datetime) -> str:
    here = timezone.localtime(moment)
    return f"{formats.date_format(here, 'SHORT_DATETIME_FORMAT')} {here.tzname()}"


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
