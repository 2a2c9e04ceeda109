"""The words of the pages about nodes: for the template, and the same in one object for the script."""

from datetime import UTC, datetime
from typing import Any, Final

from django.utils import formats, timezone
from django.utils.translation import gettext, gettext_lazy, ngettext

from agent_client import __version__
from tunnel.models import CloseReason, RefusalReason
from tunnel.pages.cards import Card, Refused
from tunnel.pages.listing import PAGE, Listing
from tunnel.presence import State

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
GIB: Final = 1024.0  # MiB

MAX_DIGITS: Final = 9  # of a part of a version

AMBER: Final = 75  # percent
RED: Final = 90

# What to look at after a session ended so; shown while the node does not come back.
ADVICE: Final = {
    CloseReason.AGENT_STOPPED: gettext_lazy("Start the agent on the node again, or the node itself."),
    CloseReason.NETWORK_LOST: gettext_lazy(
        "Check that the node is on and reaches the internet. The agent dials again by itself."
    ),
    CloseReason.SILENT: gettext_lazy(
        "Check that the node is on, awake and reaches the internet. The agent dials again by itself."
    ),
    CloseReason.REPLACED: gettext_lazy(
        "Two agents used this agent ID. Give a copied or reinstalled node an agent ID of its own."
    ),
    CloseReason.REVOKED: gettext_lazy(
        "Check status and connection type of this server, and that the agent has its newest secret."
    ),
    CloseReason.NO_HELLO: gettext_lazy(
        "Read the agent’s log, and give the node the agent of this panel’s version."
    ),
    CloseReason.RUBBISH: gettext_lazy(
        "Read the agent’s log, and give the node the agent of this panel’s version."
    ),
    CloseReason.DISCONNECTED: gettext_lazy("The agent dials again by itself."),
    CloseReason.WORKER_RESTART: gettext_lazy(
        "The agent should have dialled again within a minute. Read its log on the node."
    ),
    CloseReason.WORKER_LOST: gettext_lazy(
        "The agent should have dialled again within a minute. Read its log on the node."
    ),
    CloseReason.INTERNAL: gettext_lazy("Read the panel’s log of that time."),
}

# What to do after a handshake was refused so.
REFUSED_ADVICE: Final = {
    RefusalReason.WRONG_SECRET: gettext_lazy(
        "Put the newest secret into the agent’s settings, or rotate it and put that one there."
    ),
    RefusalReason.SUSPENDED: gettext_lazy("Reactivate the server to let its agent in."),
    RefusalReason.NO_TUNNEL: gettext_lazy("Set the server’s connection type to reverse tunnel."),
    RefusalReason.NOT_SECURE: gettext_lazy(
        "The agent has to dial wss://, and a proxy in between has to say so to the panel: see the settings."
    ),
    RefusalReason.TOO_MANY: gettext_lazy(
        "Wrong secrets came from this address. Mend the agent’s secret; it is let in a minute later."
    ),
    RefusalReason.CHANGED: gettext_lazy("The agent dials again by itself."),
}


def of_script() -> dict[str, Any]:
    """Return the words of the script; `{name}` marks what it fills in."""
    return {
        "states": {state.value: str(state.label) for state in State},
        "since": gettext("Offline since {time}"),
        "reasons": {reason.value: str(reason.label) for reason in CloseReason},
        "advice": {reason.value: str(advice) for reason, advice in ADVICE.items()},
        "refusals": {reason.value: str(reason.label) for reason in RefusalReason},
        "refusedAdvice": {reason.value: str(advice) for reason, advice in REFUSED_ADVICE.items()},
        "refusedOnce": gettext("{time} refused: {reason}, from {address}"),
        "refusedOften": gettext("{time} refused: {reason}, from {address}, {times} times"),
        "agent": gettext("Of the cut before that its agent said: {text}"),
        "figures": gettext("figures of {ago}"),
        "actions": gettext("Actions for {name}"),
        "version": __version__,
        "outdated": gettext("older than the agent that comes with this panel"),
        "range": gettext("{first}–{last} of {found}"),
        "active": gettext("{active} of {total} tunnels active"),
        "live": gettext("Live"),
        "connecting": gettext("Connecting…"),
        "paused": gettext("Live updates paused: reconnecting…"),
        "behind": gettext("Live updates paused: the panel’s database does not answer"),
        "ended": gettext("Your login has ended: reload this page to log in again"),
        "nothing": gettext("No node matches “{text}”."),
        "nothingChosen": gettext("No node matches the filters."),
        "rtt": gettext("{number} ms"),
        "uptime": {
            "days": gettext("up {days}d {hours}h"),
            "hours": gettext("up {hours}h {minutes}m"),
            "minutes": gettext("up {minutes}m"),
        },
        "amount": gettext("{used} of {total} GiB"),
    }


def pill(card: Card) -> str:
    """Return the words of a card's pill."""
    if card["state"] == State.OFFLINE and card["since"] is not None:
        return gettext("Offline since {time}").format(time=moment(card["since"]))
    return str(State(card["state"]).label)


def reason(card: Card) -> str:
    """Return in words why the last session ended; empty when there was none."""
    return str(CloseReason(card["reason"]).label) if card["reason"] else ""


def advice(card: Card) -> str:
    """Return what to look at after that."""
    return str(ADVICE[CloseReason(card["reason"])]) if card["reason"] else ""


def refused(attempt: Refused) -> str:
    """Return in words that a handshake was refused, when, why and whence."""
    facts = {
        "time": moment(attempt["at"]),
        "reason": RefusalReason(attempt["reason"]).label,
        "address": attempt["address"],
    }
    if attempt["times"] == 1:
        return gettext("{time} refused: {reason}, from {address}").format(**facts)
    times = attempt["times"]
    return gettext("{time} refused: {reason}, from {address}, {times} times").format(**facts, times=times)


def refused_advice(attempt: Refused) -> str:
    """Return what to do after a refused handshake."""
    return str(REFUSED_ADVICE[RefusalReason(attempt["reason"])])


def agent(card: Card) -> str:
    """Return what the agent said of the cut before its last session; empty when it said nothing."""
    said = card["agent_reason"]
    return gettext("Of the cut before that its agent said: {text}").format(text=said) if said else ""


def figures(at: float, now: float) -> str:
    """Return how old figures are."""
    return gettext("figures of {ago}").format(ago=ago(at, now))


def range_of(found: Listing) -> str:
    """Return which of how many a page shows; empty when it shows all."""
    if found.whole or not found.shown:
        return ""
    first = (found.page - 1) * PAGE + 1
    last = first + len(found.shown) - 1
    return gettext("{first}–{last} of {found}").format(first=first, last=last, found=found.found)


def nothing(text: str) -> str:
    """Say that no node is what somebody looks for."""
    if text:
        return gettext("No node matches “{text}”.").format(text=text)
    return gettext("No node matches the filters.")


def is_old(version: str) -> bool:
    """Tell whether an agent is older than the one that comes with this panel; of strange versions nothing is said."""
    parts = version.split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < MAX_DIGITS for part in parts):
        return False
    ours = str(__version__).split(".")
    return [int(part) for part in parts] < [int(part) for part in ours]


def moment(at: float) -> str:
    """Return a time of today as a clock shows it, an older one as a day."""
    local = timezone.localtime(_time(at))
    today = local.date() == timezone.localdate()
    return formats.date_format(local, "TIME_FORMAT" if today else "MONTH_DAY_FORMAT")


def exact(at: float) -> str:
    """Return a time in full, with its zone."""
    local = timezone.localtime(_time(at))
    return f"{formats.date_format(local, 'DATETIME_FORMAT')} {local.tzname()}"


def iso(at: float) -> str:
    """Return a time for machines."""
    return _time(at).isoformat(timespec="seconds")


def ago(at: float, now: float) -> str:
    """Return how long ago that was, in one unit."""
    seconds = max(0, int(now - at))
    if seconds < MINUTE:
        return ngettext("{n} second ago", "{n} seconds ago", seconds).format(n=seconds)
    if seconds < HOUR:
        return ngettext("{n} minute ago", "{n} minutes ago", seconds // MINUTE).format(n=seconds // MINUTE)
    if seconds < DAY:
        return ngettext("{n} hour ago", "{n} hours ago", seconds // HOUR).format(n=seconds // HOUR)
    return ngettext("{n} day ago", "{n} days ago", seconds // DAY).format(n=seconds // DAY)


def uptime(seconds: float | None) -> str:
    """Return for how long a node runs, in its two largest units."""
    if seconds is None:
        return ""
    days, hours, minutes = int(seconds // DAY), int(seconds % DAY // HOUR), int(seconds % HOUR // MINUTE)
    if days:
        return gettext("up {days}d {hours}h").format(days=days, hours=hours)
    if hours:
        return gettext("up {hours}h {minutes}m").format(hours=hours, minutes=minutes)
    return gettext("up {minutes}m").format(minutes=minutes)


def round_trip(seconds: float | None) -> str:
    """Return a round trip; one under a millisecond is shown as one."""
    return "" if seconds is None else gettext("{number} ms").format(number=max(1, round(seconds * 1000)))


def amount(used: float | None, total: float | None) -> str:
    """Return two amounts of MiB as people read them; empty when they are not known."""
    if used is None or not total:
        return ""
    return gettext("{used} of {total} GiB").format(used=_gib(used), total=_gib(total))


def level(percent: float | None) -> str:
    """Return how full that is: empty, `amber` or `red`."""
    if percent is None or percent < AMBER:
        return ""
    return "amber" if percent < RED else "red"


def _gib(mib: float) -> str:
    return formats.number_format(round(mib / GIB, 1), 1)


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
