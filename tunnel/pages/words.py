"""The words of the pages about nodes: for the template, and the same in one object for the script."""

from datetime import UTC, datetime
from typing import Any, Final

from django.utils import formats, timezone
from django.utils.translation import gettext, gettext_lazy, ngettext

from tunnel.models import CloseReason
from tunnel.pages.cards import Card
from tunnel.presence import State

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
GIB: Final = 1024.0  # MiB

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


def of_script() -> dict[str, Any]:
    """Return the words of the script; `{name}` marks what it fills in."""
    return {
        "states": {state.value: str(state.label) for state in State},
        "since": gettext("Offline since {time}"),
        "reasons": {reason.value: str(reason.label) for reason in CloseReason},
        "advice": {reason.value: str(advice) for reason, advice in ADVICE.items()},
        "active": gettext("{active} of {total} tunnels active"),
        "live": gettext("Live"),
        "connecting": gettext("Connecting…"),
        "paused": gettext("Live updates paused: reconnecting…"),
        "behind": gettext("Live updates paused: the panel’s database does not answer"),
        "ended": gettext("Your login has ended: reload this page to log in again"),
        "nothing": gettext("No node matches “{text}”."),
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
