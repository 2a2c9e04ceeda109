"""The managed servers and their tags."""

from collections.abc import Collection, Iterable
from typing import Any, Self

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Length, Now
from django.db.models.lookups import GreaterThanOrEqual, LessThanOrEqual
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from servers.text import refuse_hidden_characters, visible

# The shape of docs/protocol.md §1; here once more because a form shows it before any agent dials in.
AGENT_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{2,63}\Z"
AGENT_ID_LENGTHS = (3, 64)

# What decides who may connect. Other columns are figures and notes.
IDENTITY_FIELDS = ("agent_id", "connection_type", "status", "secret_digest", "secret_version")


class Tag(models.Model):
    """A word servers are grouped by."""

    name = models.CharField(_("name"), max_length=50, unique=True, validators=[refuse_hidden_characters])

    class Meta:
        verbose_name = _("tag")
        verbose_name_plural = _("tags")
        ordering = ["name"]

    def __str__(self) -> str:
        return visible(self.name)


class Server(models.Model):
    """A machine as the panel knows it.

    Every column has a default in the database too, so that plain SQL may insert a row by name and agent id alone.
    Status and secret are changed through `servers.identity`; a later `save()` of an instance that was loaded before
    such a change does not undo it, because `save()` writes of IDENTITY_FIELDS only what this instance changed.
    """

    class ConnectionType(models.TextChoices):
        """How the panel reaches a server."""

        TUNNEL = "tunnel", _("Reverse tunnel")
        HTTP = "http", _("HTTP")
        SSH = "ssh", _("SSH")

    class Status(models.TextChoices):
        """What people decided about a server; whether it is there is another question, answered by its session."""

        UNKNOWN = "unknown", _("Unknown")
        ACTIVE = "active", _("Active")
        SUSPENDED = "suspended", _("Suspended")

    name = models.CharField(_("name"), max_length=100, unique=True, validators=[refuse_hidden_characters])
    agent_id = models.CharField(
        _("agent ID"),
        max_length=64,
        unique=True,
        validators=[
            RegexValidator(
                AGENT_ID_PATTERN,
                _("3 to 64 letters, digits, dots, dashes and underscores; the first is a letter or a digit."),
            )
        ],
        help_text=_(
            "The name the agent gives when it dials in. A live agent is disconnected when this changes."
        ),
    )
    secret_digest = models.CharField(
        _("secret digest"), max_length=255, blank=True, default="", db_default="", editable=False
    )
    secret_version = models.PositiveIntegerField(_("secret version"), default=1, db_default=1, editable=False)
    connection_type = models.CharField(
        _("connection type"),
        max_length=10,
        choices=ConnectionType,
        default=ConnectionType.TUNNEL,
        db_default=ConnectionType.TUNNEL,
    )
    status = models.CharField(
        _("status"), max_length=10, choices=Status, default=Status.UNKNOWN, db_default=Status.UNKNOWN
    )
    tags = models.ManyToManyField(Tag, verbose_name=_("tags"), related_name="servers", blank=True)
    notes = models.TextField(_("notes"), blank=True, default="", db_default="")

    host = models.CharField(_("host"), max_length=255, blank=True, default="", db_default="")
    port = models.PositiveIntegerField(
        _("port"), null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    username = models.CharField(_("user name"), max_length=64, blank=True, default="", db_default="")

    last_usage = models.JSONField(_("last usage"), null=True, blank=True)
    last_usage_at = models.DateTimeField(_("last usage at"), null=True, blank=True)
    rtt_seconds = models.FloatField(_("round trip in seconds"), null=True, blank=True)
    agent_version = models.CharField(_("agent version"), max_length=32, blank=True, default="", db_default="")
    capabilities = models.JSONField(
        _("capabilities"), default=list, db_default=models.Value([], models.JSONField()), blank=True
    )
    policy = models.JSONField(
        _("policy of the node"), default=dict, db_default=models.Value({}, models.JSONField()), blank=True
    )
    machine_id = models.CharField(_("machine ID"), max_length=128, blank=True, default="", db_default="")
    host_facts = models.JSONField(
        _("host facts"), default=dict, db_default=models.Value({}, models.JSONField()), blank=True
    )
    first_seen = models.DateTimeField(_("first seen"), null=True, blank=True)
    last_seen = models.DateTimeField(_("last seen"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, db_default=Now(), editable=False)

    _loaded: dict[
        str, Any
    ] = {}  # identity as the database gave it, without what this instance has saved since

    class Meta:
        db_table = "servers"
        verbose_name = _("server")
        verbose_name_plural = _("servers")
        ordering = ["name"]
        permissions = [
            ("run_command", "Can run commands on servers"),
            ("open_shell", "Can open shells on servers"),
            ("read_files", "Can read files of servers"),
            ("write_files", "Can change files of servers"),
            ("forward_port", "Can forward ports to servers"),
            ("view_recording", "Can watch recorded shells of servers"),
            ("rotate_secret", "Can rotate the secrets of servers"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(connection_type__in=["tunnel", "http", "ssh"]),
                name="servers_connection_type_is_known",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["unknown", "active", "suspended"]),
                name="servers_status_is_known",
            ),
            # The whole pattern has no form that every database and every SQL shell understands.
            models.CheckConstraint(
                condition=models.Q(
                    GreaterThanOrEqual(Length("agent_id"), AGENT_ID_LENGTHS[0]),
                    LessThanOrEqual(Length("agent_id"), AGENT_ID_LENGTHS[1]),
                ),
                name="servers_agent_id_has_3_to_64_characters",
            ),
        ]

    def __str__(self) -> str:
        return visible(self.name)

    def save(
        self,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Write the row; a new digest counts as a new secret version, so that the live session ends."""
        update_fields = None if update_fields is None else set(update_fields)
        if self._changed("secret_digest") and not self._changed("secret_version"):
            self.secret_version += 1
            if update_fields is not None and "secret_digest" in update_fields:
                update_fields.add("secret_version")
        if update_fields is None and not force_insert and self._is_update_of_loaded_row(using):
            update_fields = self._fields_to_write()
        super().save(
            force_insert=force_insert, force_update=force_update, using=using, update_fields=update_fields
        )
        # Saved fields are written again by the next save(): this transaction may still be rolled back.
        written = set(IDENTITY_FIELDS) if update_fields is None else update_fields
        self._loaded = {name: value for name, value in self._loaded.items() if name not in written}

    @property
    def server_type(self) -> str:
        """`remote_tunnel` for a server that dials in, `remote_standard` for one the panel dials."""
        return "remote_tunnel" if self.connection_type == self.ConnectionType.TUNNEL else "remote_standard"

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any
    ) -> Self:
        """Return an instance that knows the identity it was loaded with."""
        server = super().from_db(db, field_names, values, **options)
        server._remember_identity(IDENTITY_FIELDS)
        return server

    def refresh_from_db(
        self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None
    ) -> None:
        """Read the row again; changes to identity that were not saved are forgotten."""
        fields = None if fields is None else list(fields)
        super().refresh_from_db(using, fields, from_queryset)
        self._remember_identity(
            IDENTITY_FIELDS if fields is None else set(fields).intersection(IDENTITY_FIELDS)
        )

    def _remember_identity(self, names: Iterable[str]) -> None:
        self._loaded = self._loaded | {name: self.__dict__[name] for name in names if name in self.__dict__}

    def _changed(self, name: str) -> bool:
        return name in self._loaded and self.__dict__.get(name) != self._loaded[name]

    def _is_update_of_loaded_row(self, using: str | None) -> bool:
        return not self._state.adding and using in (None, self._state.db) and bool(self._loaded)

    def _fields_to_write(self) -> set[str]:
        unchanged = {name for name in self._loaded if not self._changed(name)}
        fields = [field for field in self._meta.concrete_fields if not field.primary_key]
        present = {field.name for field in fields if field.attname in self.__dict__}
        return present - unchanged
