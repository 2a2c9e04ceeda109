"""The commands that people ran on servers."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from servers.models.server import Server
from servers.text import visible


class CommandRecord(models.Model):
    """One command a person or a program gave a server, and how it ended. Its key is the command's id on the wire."""

    class State(models.TextChoices):
        """Where a command is; `servers.records` holds the legal steps."""

        PENDING = "pending", _("Pending")
        SENT = "sent", _("Sent")
        SUCCEEDED = "succeeded", _("Succeeded")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")
        UNKNOWN = "unknown", _("Outcome unknown")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # The history outlives the server and the person, so both are kept by name too.
    server = models.ForeignKey(
        Server, models.SET_NULL, null=True, related_name="commands", verbose_name=_("server")
    )
    server_name = models.CharField(_("server name"), max_length=100)
    service = models.CharField(_("service"), max_length=64)
    action = models.CharField(_("action"), max_length=64)
    params = models.JSONField(_("parameters"), default=dict)
    actor_user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("user")
    )
    actor = models.CharField(_("who"), max_length=150)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.PENDING)
    code = models.CharField(_("code"), max_length=64, blank=True, default="")
    error = models.TextField(_("error"), blank=True, default="")
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    duration_seconds = models.FloatField(_("duration in seconds"), null=True)

    class Meta:
        verbose_name = _("command")
        verbose_name_plural = _("commands")
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["-created_at"], name="servers_command_newest"),
            models.Index(fields=["server", "-created_at"], name="servers_command_of_server"),
            models.Index(fields=["state", "created_at"], name="servers_command_by_state"),
        ]

    def __str__(self) -> str:
        return visible(f"{self.service}.{self.action}")
