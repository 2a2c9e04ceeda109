"""The tokens with which programs use the REST interface."""

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from servers.models.group import ServerGroup
from servers.text import refuse_hidden_characters, visible


class ApiToken(models.Model):
    """What a program shows instead of a login: it acts as its user, narrowed to some rights and some servers.

    A table of our own and not a library's: what a token may do is authorisation, so it is judged by `servers.access`
    like everything else, and an app that others install cannot exchange the token table of its host. The token itself
    is not kept, `servers.tokens` makes and checks it.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user")
    )
    name = models.CharField(
        _("name"),
        max_length=60,
        validators=[refuse_hidden_characters],
        help_text=_("What uses it, so that you know later what to revoke."),
    )
    prefix = models.CharField(_("begins with"), max_length=16, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    permissions = models.JSONField(_("permissions"), default=list)
    # A flag beside the groups: when the last of its groups is deleted, a token must not turn into one for all servers.
    all_servers = models.BooleanField(_("all servers"), default=False)
    groups = models.ManyToManyField(
        ServerGroup, verbose_name=_("server groups"), related_name="+", blank=True
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("expires at"))
    last_used_at = models.DateTimeField(_("last used at"), null=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, editable=False)

    class Meta:
        default_permissions = ()  # people make tokens for themselves, with rights they have
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return visible(self.name)
