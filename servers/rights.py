"""The words of what somebody may do on a server; `servers.access` decides who may."""

from typing import Final

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
