"""The Django application `tunnel`."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TunnelConfig(AppConfig):
    """Tunnels of the servers that dial in."""

    name = "tunnel"
    verbose_name = _("Tunnel")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the transport, the tabs, the system checks, and what happens when a server row changes."""
        from servers import panels, transports
        from servers.signals import identity_changed
        from tunnel import checks, receivers  # noqa: F401 - importing registers the checks
        from tunnel.pages import tabs
        from tunnel.transport import TunnelTransport

        transports.register("tunnel", TunnelTransport())
        panels.register_tabs(tabs.of_server)
        identity_changed.connect(receivers.identity_changed, dispatch_uid="tunnel")
