"""The Django application `servers`."""

from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from servers import neighbours


class ServersConfig(AppConfig):
    """Servers the panel manages, however they are reached."""

    name = "servers"
    verbose_name = _("Node Orchestration")
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        neighbours.refuse_namesake(self.name)
        neighbours.refuse_other_package("tunnel", "handshake")
        super().__init__(app_name, app_module)

    def ready(self) -> None:
        """Listen to changes of identity, fill the places of absent transports, and add this app's tabs."""
        from servers import checks, panels, receivers, sqlite, tabs, transports  # models exist from here on

        receivers.connect()
        sqlite.connect()
        transports.register_absent()
        checks.register()
        panels.register_tabs(tabs.own)
