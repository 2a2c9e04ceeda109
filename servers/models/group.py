"""Groups of servers, and who was given which rights on them."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from servers.models.server import Server
from servers.rights import PERMISSIONS
from servers.text import refuse_hidden_characters, visible


class ServerGroup(models.Model):
    """Servers that belong together, so that rights are given on all of them at once."""

    name = models.CharField(_("name"), max_length=100, unique=True, validators=[refuse_hidden_characters])
    servers = models.ManyToManyField(
        Server, verbose_name=_("servers"), related_name="server_groups", blank=True
    )

    class Meta:
        verbose_name = _("server group")
        verbose_name_plural = _("server groups")
        ordering = ["name"]

    def __str__(self) -> str:
        return visible(self.name)


class Grant(models.Model):
    """Rights on a group of servers, given to one user or to all users of one of Django's groups.

    `permissions` is a list of words of `servers.rights.PERMISSIONS`; any right includes seeing the servers.
    """

    server_group = models.ForeignKey(
        ServerGroup, models.CASCADE, related_name="grants", verbose_name=_("server group")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("user"),
    )
    user_group = models.ForeignKey(
        Group, models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("group of users")
    )
    permissions = models.JSONField(_("permissions"), default=list)

    class Meta:
        verbose_name = _("grant")
        verbose_name_plural = _("grants")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(user__isnull=False, user_group__isnull=True)
                | models.Q(user__isnull=True, user_group__isnull=False),
                name="servers_grant_is_to_a_user_or_a_group",
                violation_error_message=_("Choose a user or a group of users, not both."),
            ),
            models.UniqueConstraint(
                fields=["server_group", "user"],
                condition=models.Q(user__isnull=False),
                name="servers_one_grant_a_user",
                violation_error_message=_("This user has a grant on this group already."),
            ),
            models.UniqueConstraint(
                fields=["server_group", "user_group"],
                condition=models.Q(user_group__isnull=False),
                name="servers_one_grant_a_user_group",
                violation_error_message=_("This group of users has a grant on this group already."),
            ),
        ]

    def __str__(self) -> str:
        rights = ", ".join(str(word) for word in self.permissions)
        return visible(f"{self.user or self.user_group}: {self.server_group} ({rights})")

    def clean(self) -> None:
        """Refuse words that are no permission.

        Raises:
            ValidationError: `permissions` is no list of words of `servers.rights.PERMISSIONS`.
        """
        super().clean()
        words: Any = self.permissions
        if not isinstance(words, list) or not words or any(word not in PERMISSIONS for word in words):
            raise ValidationError({"permissions": _("Choose at least one of the permissions offered.")})
