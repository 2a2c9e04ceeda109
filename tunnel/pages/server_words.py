"""The words of the page of one server that the page of all of them does not have."""

from datetime import UTC, datetime
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext, ngettext

from tunnel.history import LinkEvent
from tunnel.pages import replies, words
from tunnel.presence import State


def of_script() -> dict[str, Any]:
    """Return the words of the page's script; `{name}` marks what it fills in."""
    return {
        **words.of_script(),
        "gone": gettext("This server was deleted, or you may not see it any more"),
        "at": gettext("{value} at {time}"),
        "running": gettext("Running…"),
        "run": gettext("Run"),
        "failed": gettext("Failed"),
        "confirm": confirm(),
        "stopped": gettext(
            "You stopped waiting. Whether it ran is not known: look on the node before you repeat it."
        ),
        "lost": gettext(
            "The panel’s answer did not arrive. Whether it ran is not known: look on the node before you repeat it."
        ),
        "broken": gettext("The panel answered with status {status}, nothing is known of the command."),
        "chart": gettext("{name} of the last hour; the table below holds the numbers"),
        "program": gettext("Write the program and its arguments."),
    }


def clock(at: float) -> str:
    """Return the time of day, with seconds."""
    local = timezone.localtime(datetime.fromtimestamp(at, UTC))
    return formats.time_format(local, "H:i:s")


def percent(value: float | None) -> str:
    """Return a percentage, a dash for none."""
    return "–" if value is None else f"{round(value)}%"


def disabled(state: State) -> str:
    """Return why no command can be sent in this state; empty when one can."""
    return {
        State.ACTIVE: "",
        State.DIRECT: "",
        State.RECONNECTING: gettext("The agent is reconnecting; a command sent now would not arrive."),
        State.OFFLINE: gettext("The node is offline: commands can be run when its agent is back."),
        State.NEVER: gettext("The agent has never connected: commands can be run when it has."),
        State.SUSPENDED: gettext("This server is suspended: reactivate it to run commands."),
    }[state]


def confirm() -> str:
    """Return what to do before a command where the panel asks for a second factor."""
    return gettext("This panel asks for your second factor before commands.")


def happened(event: LinkEvent) -> str:
    """Return in a sentence's words what happened on a link."""
    kind = str(event.kind.label)
    return f"{kind}: {event.words}" if event.words else kind


def by_agent(event: LinkEvent) -> str:
    """Return what the agent said of its own end; the caller makes it visible."""
    if not event.by_agent:
        return ""
    if event.away is None:
        return gettext("the agent says: {words}").format(words=event.by_agent)
    away = replies.duration(event.away.total_seconds())
    return gettext("the agent says: {words} (away for {time})").format(words=event.by_agent, time=away)


def how_often(times: int) -> str:
    """Return how often alike refusals came; empty for one."""
    return ngettext("{n} time", "{n} times", times).format(n=times) if times > 1 else ""


def protocol(*, basic: bool) -> str:
    """Return which protocol a session speaks."""
    return gettext("basic, without HELLO and streams") if basic else "yumna.tunnel.v1"
