"""The filters of lists; a value that is none is refused, never ignored."""

from datetime import UTC
from typing import Any

import django_filters
import django_filters.fields
from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet
from django_filters.utils import translate_validation

from servers.models import CommandRecord, Server
from tunnel import presence
from tunnel.api.paging import bad_parameter
from tunnel.models import Session
from tunnel.presence import State

MAX_WORDS = 10  # of a search; each is a few comparisons a row
_ORDERS = ("name", "agent_id", "agent_version", "created_at", "last_seen", "rtt_seconds")


class _Form(forms.Form):
    """The parameters as a form, in which an empty value is none."""

    def clean(self) -> dict[str, Any]:
        """Refuse `?state=`: it would leave out the filter that somebody meant to set."""
        for name in set(self.fields) & set(self.data) - {"search"}:
            if self.data.get(name) == "" and name not in self.errors:
                self.add_error(name, forms.ValidationError("must not be empty", "empty"))
        return dict(self.cleaned_data)


class _MomentField(django_filters.fields.IsoDateTimeField):
    """A moment that there is in UTC too: near the years 1 and 9999 some zones have others."""

    def clean(self, value: Any) -> Any:
        """Return it in UTC."""
        try:
            moment = super().clean(value)
            return None if moment is None else moment.astimezone(UTC)
        except OverflowError as exc:
            raise forms.ValidationError("a moment between the years 1 and 9999", "invalid") from exc


class Since(django_filters.IsoDateTimeFilter):
    """From a moment on."""

    field_class = _MomentField

    def __init__(self, field_name: str) -> None:
        super().__init__(field_name=field_name, lookup_expr="gte", help_text="RFC 3339.")


class _Filter(django_filters.FilterSet):
    class Meta:
        form = _Form


class ServerFilter(_Filter):
    """`?search=&state=&tag=&status=&connection_type=&ordering=`; several tags: the servers that have all of them."""

    search = django_filters.CharFilter(
        method="find", help_text="Words in name, agent ID, host, notes and tags."
    )
    state = django_filters.ChoiceFilter(
        choices=[(state.value, state.value) for state in State], method="of_state", help_text="Of the tunnel."
    )
    tag = django_filters.CharFilter(method="tagged", help_text="May be given several times.")
    status = django_filters.ChoiceFilter(choices=Server.Status.choices)
    connection_type = django_filters.ChoiceFilter(choices=Server.ConnectionType.choices)
    ordering = django_filters.OrderingFilter(fields=[(name, name) for name in _ORDERS])

    def find(self, servers: QuerySet[Server], name: str, text: str) -> QuerySet[Server]:  # noqa: ARG002 - a filter
        """Keep what holds every word."""
        words = text.split()
        if len(words) > MAX_WORDS:
            raise bad_parameter("search", f"at most {MAX_WORDS} words")
        for word in words:
            servers = servers.filter(
                Q(name__icontains=word)
                | Q(agent_id__icontains=word)
                | Q(host__icontains=word)
                | Q(notes__icontains=word)
                | Exists(Server.tags.through.objects.filter(server=OuterRef("pk"), tag__name__icontains=word))
            )
        return servers

    def of_state(self, servers: QuerySet[Server], name: str, state: str) -> QuerySet[Server]:  # noqa: ARG002
        """Keep what is in this state now."""
        return presence.in_state(servers, state)

    def tagged(self, servers: QuerySet[Server], name: str, tag: str) -> QuerySet[Server]:  # noqa: ARG002
        """Keep what has all the tags."""
        tags = self.data.getlist("tag") if hasattr(self.data, "getlist") else [tag]
        if len(tags) > MAX_WORDS or any("\0" in wanted for wanted in tags):
            raise bad_parameter("tag", f"at most {MAX_WORDS} tags, without NUL characters")
        for wanted in tags:
            servers = servers.filter(
                Exists(Server.tags.through.objects.filter(server=OuterRef("pk"), tag__name=wanted))
            )
        return servers


class CommandFilter(_Filter):
    """`?server=&state=&since=` of commands."""

    server = django_filters.CharFilter(field_name="server__agent_id", help_text="An agent ID.")
    state = django_filters.ChoiceFilter(choices=CommandRecord.State.choices)
    since = Since("created_at")


class SessionFilter(_Filter):
    """`?server=&state=&since=` of sessions."""

    server = django_filters.CharFilter(field_name="server__agent_id", help_text="An agent ID.")
    state = django_filters.ChoiceFilter(choices=[("open", "open"), ("closed", "closed")], method="of_state")
    since = Since("opened_at")

    def of_state(self, sessions: QuerySet[Session], name: str, state: str) -> QuerySet[Session]:  # noqa: ARG002
        """Keep the open ones, or the ended ones."""
        return sessions.filter(closed_at__isnull=state == "open")


class EventFilter(_Filter):
    """`?server=&state=&since=` of events, whose state is their kind."""

    server = django_filters.CharFilter(field_name="server__agent_id", help_text="An agent ID.")
    state = django_filters.ChoiceFilter(
        choices=[(kind, kind) for kind in ("opened", "closed", "refused")], method="kept"
    )
    since = Since("opened_at")

    def kept(self, sessions: QuerySet[Session], name: str, kind: str) -> QuerySet[Session]:  # noqa: ARG002
        """Leave the choice to the view, which reads several tables."""
        return sessions


def checked(filters: Any) -> Any:
    """Return a filter set whose parameters are all right.

    Raises:
        ValidationError: a parameter has a value that is none.
    """
    if not filters.is_valid():
        raise translate_validation(filters.errors)
    return filters
