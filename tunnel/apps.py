"""The Django application `tunnel`."""

from typing import Any

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from tunnel import installed

try:
    from servers import neighbours
except ImportError as exc:
    import servers

    raise ImproperlyConfigured(
        f"`import servers` finds {next(iter(servers.__path__))}, which is not Yumna Tunnel's package of this name; move "
        "yours into the package of your project, docs/existing-panel.md says how"
    ) from exc


class TunnelConfig(AppConfig):
    """Tunnels of the servers that dial in."""

    name = "tunnel"
    verbose_name = _("Tunnel")
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        neighbours.refuse_namesake(self.name)
        super().__init__(app_name, app_module)

    def import_models(self) -> None:
        """Load the models, which stand on those of `servers`."""
        installed.require("servers")
        super().import_models()

    def ready(self) -> None:
        """Register the transport, what the pages of a server show, the system checks, and what happens when a server row changes."""
        from django.db.models.signals import post_delete

        from servers import panels, transports
        from servers.signals import identity_changed
        from tunnel import checks, receivers  # noqa: F401 - importing registers the checks
        from tunnel.models import Recording
        from tunnel.pages import tabs, waiting
        from tunnel.transport import TunnelTransport

        transports.register("tunnel", TunnelTransport())
        panels.register_tabs(tabs.of_server)
        panels.register_waiting(waiting.panel)
        identity_changed.connect(receivers.identity_changed, dispatch_uid="tunnel")
        post_delete.connect(receivers.recording_deleted, sender=Recording, dispatch_uid="tunnel")
