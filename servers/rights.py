"""The words of what somebody may do on a server; `servers.access` decides who may."""

from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

PERMISSIONS: Final = (
    "view",
    "change",
    "run_command",
    "open_shell",
    "read_files",
    "write_files",
    "forward_port",
    "view_recording",
    "rotate_secret",
)

# What people read where rights are given; each right includes the first.
LABELS: Final[dict[str, str | Promise]] = {
    "view": _("See the servers and their history"),
    "change": _("Change their settings, suspend and reactivate them"),
    "run_command": _("Run commands"),
    "open_shell": _("Open shells"),
    "read_files": _("Read files"),
    "write_files": _("Change files"),
    "forward_port": _("Forward ports"),
    "view_recording": _("Watch recorded shells"),
    "rotate_secret": _("Rotate secrets"),
}


def words(permissions: list[str]) -> str:
    """Return the words of these permissions in one line, in the order of PERMISSIONS."""
    return ", ".join(str(LABELS[word]) for word in PERMISSIONS if word in permissions)
