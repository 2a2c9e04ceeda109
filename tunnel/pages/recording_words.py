"""The words of recordings: the facts of one, and what its player says."""

from datetime import timedelta
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext

from servers.text import visible
from tunnel.models import Recording
from tunnel.recordings import shelf


def facts(found: Recording) -> list[tuple[str, str]]:
    """Return what is known of a recording, as names and values."""
    rows = [
        (gettext("Opened by"), visible(found.opener) or gettext("somebody outside the panel")),
        (gettext("Started"), date_format(localtime(found.started_at), "DATETIME_FORMAT")),
        (gettext("Length"), length(found)),
        (gettext("Size"), filesizeformat(found.size)),
        (gettext("Program"), visible(found.program)),
        (gettext("End"), end(found)),
    ]
    if found.missing:
        rows.append(
            (gettext("Missing"), gettext("%s of output, marked where") % filesizeformat(found.missing))
        )
    return [(name, value) for name, value in rows if value]


def length(found: Recording) -> str:
    """Return how long it plays."""
    return str(timedelta(seconds=round(found.seconds)))


def end(found: Recording) -> str:
    """Return why it ended, or that it goes on."""
    if found.ended_at is None:
        return gettext("still being recorded")
    how = found.get_end_display()
    return (
        how
        if found.exit_code is None
        else gettext("%(how)s, exit code %(code)d") % {"how": how, "code": found.exit_code}
    )


def out_of_reach(found: Recording) -> str:
    """Return why the file cannot be had, or nothing."""
    return removed(found) or ("" if shelf.is_there() else nowhere())


def nowhere() -> str:
    """Return that the panel has no storage for recordings any more."""
    return gettext(
        "The panel’s settings name no storage for recordings any more (STORAGES, tunnel_recordings). "
        "The file plays again once they do."
    )


def removed(found: Recording) -> str:
    """Return that the file is gone, or nothing."""
    if found.removed_at is None:
        return ""
    day = date_format(localtime(found.removed_at), "DATE_FORMAT")
    return gettext("The file was removed by its age on %s.") % day


def of_script() -> dict[str, Any]:
    """Return the words that the player's script says."""
    return {
        "play": gettext("Play"),
        "pause": gettext("Pause"),
        "plain": gettext(
            "This browser, or the panel’s security policy, allows no WebAssembly: played by the plain player."
        ),
        "failed": gettext("The recording could not be loaded: {why}"),
        "broken": gettext("The file ends in the middle; it is played up to there."),
        "speed": gettext("{speed}×"),
    }
