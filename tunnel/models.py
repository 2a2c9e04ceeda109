"""What the tunnel keeps in the database: workers, sessions of agents, what happened on links, figures, leases."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from servers.models import Server


class Worker(models.Model):
    """One process of the master that holds agent sockets; it lives as long as it renews its lease."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    inbox = models.CharField(max_length=150, unique=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    lease_until = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class CloseReason(models.TextChoices):
    """Why a session ended, in the words an operator reads."""

    AGENT_STOPPED = "agent_stopped", _("the agent was stopped")
    NETWORK_LOST = "network_lost", _("the connection was cut")
    SILENT = "silent", _("the node fell silent")
    REPLACED = "replaced", _("a newer connection with the same agent id took over")
    REVOKED = "revoked", _("suspended, secret rotated, or connection type changed")
    NO_HELLO = "no_hello", _("the agent did not introduce itself")
    RUBBISH = "rubbish", _("the agent broke the protocol")
    DISCONNECTED = "disconnected", _("somebody disconnected it in the panel")
    WORKER_RESTART = "worker_restart", _("the panel's worker was restarted")
    WORKER_LOST = "worker_lost", _("the panel's worker died")
    INTERNAL = "internal", _("the panel had an internal error")


class Session(models.Model):
    """One life of one agent WebSocket, from accept to close."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="sessions")
    worker = models.ForeignKey(Worker, on_delete=models.CASCADE, related_name="sessions")
    basic = models.BooleanField(default=False)
    address = models.GenericIPAddressField(null=True, blank=True)
    secret_version = models.PositiveIntegerField()
    # What the agent says of the session before this one: why it ended as seen from the node, and how long ago.
    agent_reason = models.CharField(max_length=200, blank=True, default="", db_default="")
    agent_away_seconds = models.FloatField(null=True, blank=True)
    opened_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True, blank=True)
    close_reason = models.CharField(max_length=20, choices=CloseReason, blank=True)
    close_detail = models.CharField(max_length=200, blank=True)

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        constraints = [
            models.UniqueConstraint(
                fields=["server"],
                condition=models.Q(closed_at__isnull=True),
                name="tunnel_one_open_session_a_server",
            )
        ]
        indexes = [
            models.Index(fields=["server", "closed_at"], name="tunnel_session_latest"),
            models.Index(fields=["closed_at"], name="tunnel_session_closed"),
            models.Index(fields=["-opened_at"], name="tunnel_session_newest"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class RefusalReason(models.TextChoices):
    """Why a handshake that named a known server was refused, in the words an operator reads."""

    WRONG_SECRET = "wrong_secret", _("wrong secret")
    SUSPENDED = "suspended", _("the server is suspended")
    NO_TUNNEL = "no_tunnel", _("the connection type is not tunnel")
    NOT_SECURE = "not_secure", _("the connection is not secure")
    TOO_MANY = "too_many", _("too many failed attempts from this address")
    CHANGED = "changed", _("the server was changed at that moment")


class Refusal(models.Model):
    """Handshakes of one kind from one address that named this server and were refused, counted together.

    An agent that dials with a wrong secret dials for ever, so alike refusals share a row (`tunnel.refusals`).
    """

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="refusals")
    reason = models.CharField(_("reason"), max_length=20, choices=RefusalReason)
    address = models.CharField(_("address"), max_length=45)
    times = models.PositiveIntegerField(_("times"), default=1)
    first_at = models.DateTimeField(_("first"), db_default=Now())
    last_at = models.DateTimeField(_("last"), db_default=Now())

    class Meta:
        verbose_name = _("refused handshake")
        verbose_name_plural = _("refused handshakes")
        constraints = [
            models.UniqueConstraint(
                fields=["server", "reason", "address"], name="tunnel_one_refusal_of_a_kind"
            )
        ]
        indexes = [
            models.Index(fields=["server", "-last_at"], name="tunnel_refusal_newest"),
            models.Index(fields=["-last_at"], name="tunnel_refusal_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.reason} {self.address}"


class Sample(models.Model):
    """The figures of one server at one moment, kept for the charts; what is not known is null."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="samples")
    at = models.DateTimeField()
    cpu = models.FloatField(null=True)  # percent, like ram and disk
    ram = models.FloatField(null=True)
    disk = models.FloatField(null=True)
    rtt_seconds = models.FloatField(null=True)
    net_rx = models.FloatField(null=True)  # bytes a second, like net_tx
    net_tx = models.FloatField(null=True)

    class Meta:
        verbose_name = _("sample")
        verbose_name_plural = _("samples")
        constraints = [models.UniqueConstraint(fields=["server", "at"], name="tunnel_one_sample_a_moment")]
        indexes = [models.Index(fields=["at"], name="tunnel_sample_age")]

    def __str__(self) -> str:
        return f"{self.server_id} {self.at}"


class Outage(models.Model):
    """A server that is away and was told of; it ends with the news that the server is back."""

    server = models.OneToOneField(Server, on_delete=models.CASCADE, related_name="outage")
    since = models.DateTimeField(_("since"))
    told_at = models.DateTimeField(_("told at"), db_default=Now())

    class Meta:
        verbose_name = _("outage")
        verbose_name_plural = _("outages")

    def __str__(self) -> str:
        return f"{self.server_id} {self.since}"


class AlertTrouble(models.Model):
    """A way of telling people that did not take the last alert; it is over with the next one that it takes."""

    way = models.CharField(max_length=20, primary_key=True)
    problem = models.CharField(max_length=300)
    since = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()
        verbose_name = _("trouble with alerts")
        verbose_name_plural = _("troubles with alerts")

    def __str__(self) -> str:
        return f"{self.way}: {self.problem}"


class IdempotencyKey(models.Model):
    """A key that a program gave with a command, and the reply, so that the same request again runs nothing twice.

    The row is written before the command is sent. `status` is null until there is a reply: while the command runs,
    and for ever when the process died meanwhile.
    """

    owner = models.CharField(max_length=64)  # whose key it is: people may choose the same
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)  # of server and body
    command = models.UUIDField()
    status = models.PositiveSmallIntegerField(null=True)
    reply = models.TextField(blank=True, default="")  # JSON
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        default_permissions = ()
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="tunnel_one_key_an_owner")]

    def __str__(self) -> str:
        return str(self.command)


class ShellEnd(models.TextChoices):
    """How a shell ended, in the words a person reads."""

    EXITED = "exited", _("its program ended")
    CLOSED = "closed", _("it was ended from the panel")
    GONE = "gone", _("the node knows it no more: the agent was restarted, or nobody had it open for too long")


class Shell(models.Model):
    """A shell on a node, from its opening until its program ends, whoever looks at it meanwhile.

    `handle` is the agent's name for it. It never leaves the panel: a browser knows the shell by its key.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, related_name="shells", verbose_name=_("server")
    )
    handle = models.CharField(max_length=128)
    program = models.CharField(_("program"), max_length=200, blank=True, default="")
    # The history outlives the person, so who opened it is kept by name too.
    opened_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("user")
    )
    opener = models.CharField(_("opened by"), max_length=150, blank=True, default="")
    opened_at = models.DateTimeField(_("opened at"), db_default=Now())
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    end = models.CharField(_("how it ended"), max_length=10, choices=ShellEnd, blank=True, default="")
    exit_code = models.IntegerField(_("exit code"), null=True, blank=True)  # minus the signal that killed it

    class Meta:
        default_permissions = ()
        verbose_name = _("shell")
        verbose_name_plural = _("shells")
        constraints = [models.UniqueConstraint(fields=["server", "handle"], name="tunnel_one_shell_a_handle")]
        indexes = [
            models.Index(fields=["ended_at"], name="tunnel_shell_ended"),
            models.Index(fields=["-opened_at"], name="tunnel_shell_newest"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class ShellViewer(models.Model):
    """A browser or a command line that has a shell open now; it counts until `until`, which its worker moves on."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    shell = models.ForeignKey(Shell, on_delete=models.CASCADE, related_name="viewers")
    # None for somebody with a shell on the panel's host, who has no account
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")
    name = models.CharField(max_length=150)
    writes = models.BooleanField(default=False)
    cols = models.PositiveSmallIntegerField()
    rows = models.PositiveSmallIntegerField()
    since = models.DateTimeField(db_default=Now())
    until = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        verbose_name = _("viewer of a shell")
        verbose_name_plural = _("viewers of shells")

    def __str__(self) -> str:
        return str(self.id)


class RecordingEnd(models.TextChoices):
    """Why a recording goes no further, in the words a person reads."""

    EXITED = "exited", _("the program ended")
    CLOSED = "closed", _("the shell was ended from the panel")
    GONE = "gone", _("the node knows the shell no more")
    TOO_LARGE = "too_large", _("it reached the largest size, the shell went on")
    NOT_POSSIBLE = "not_possible", _("the agent is too old to have its shells recorded, upgrade it")
    SWITCHED_OFF = "off", _("recording was switched off")


class Recording(models.Model):
    """What a shell wrote, in a file of parts. One worker writes: `holder`, in its turn, until its lease runs out.

    `position` counts the shell's output: all before it is in the parts, so that whoever writes next goes on there.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    shell = models.OneToOneField(Shell, models.SET_NULL, null=True, related_name="recording")
    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, related_name="recordings", verbose_name=_("server")
    )
    opened_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("user")
    )
    opener = models.CharField(_("opened by"), max_length=150, blank=True, default="")
    program = models.CharField(_("program"), max_length=200, blank=True, default="")
    cols = models.PositiveSmallIntegerField(_("columns at first"))
    rows = models.PositiveSmallIntegerField(_("rows at first"))
    started_at = models.DateTimeField(_("started at"), db_default=Now(), db_index=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    end = models.CharField(_("why it ended"), max_length=12, choices=RecordingEnd, blank=True, default="")
    exit_code = models.IntegerField(_("exit code"), null=True, blank=True)
    seconds = models.FloatField(_("length in seconds"), default=0)
    size = models.PositiveBigIntegerField(_("size of the file in bytes"), default=0)
    position = models.PositiveBigIntegerField(default=0)
    missing = models.PositiveBigIntegerField(_("bytes of output that are missing"), default=0)
    removed_at = models.DateTimeField(_("file removed at"), null=True, blank=True)  # by its age
    parts = models.PositiveIntegerField(default=0)
    holder = models.CharField(max_length=36, blank=True, default="")
    turn = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()
        verbose_name = _("recording")
        verbose_name_plural = _("recordings")
        indexes = [models.Index(fields=["ended_at", "lease_until"], name="tunnel_recording_free")]

    def __str__(self) -> str:
        return str(self.id)


class RecordingPart(models.Model):
    """A part of a recording's file; its name in the storage is known here alone."""

    recording = models.ForeignKey(Recording, on_delete=models.CASCADE, related_name="files")
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=200)
    size = models.PositiveIntegerField()

    class Meta:
        default_permissions = ()
        verbose_name = _("part of a recording")
        verbose_name_plural = _("parts of recordings")
        constraints = [
            models.UniqueConstraint(fields=["recording", "number"], name="tunnel_one_part_a_number")
        ]

    def __str__(self) -> str:
        return self.name


class Lease(models.Model):
    """A right only one process holds at a time, by name, until it runs out."""

    name = models.CharField(max_length=50, primary_key=True)
    holder = models.CharField(max_length=150)
    until = models.DateTimeField()

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")

    def __str__(self) -> str:
        return self.name


class Node(Server):
    """A server as the admin's index lists it: the entry that leads to the Node Orchestration page."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("node")
        verbose_name_plural = _("Node Orchestration")
