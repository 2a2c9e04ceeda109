"""Groups of servers in the admin, and the grants on them: to a user or a group of users, in words to tick.

Who may edit them is Django's own permission on the two models. Nobody but who holds a right on a server himself gives
it to somebody there: neither by a grant, nor by putting a server into a group with grants.
"""

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Count, Q, QuerySet
from django.forms.formsets import DELETION_FIELD_NAME
from django.http import HttpRequest
from django.utils.text import smart_split, unescape_string_literal
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from servers import access, rights
from servers.admin import base
from servers.models import Grant, Server, ServerGroup

if TYPE_CHECKING:
    GroupModelAdmin = admin.ModelAdmin[ServerGroup]
    GroupModelForm = forms.ModelForm[ServerGroup]
    GrantModelForm = forms.ModelForm[Grant]
    GrantStack = admin.StackedInline[Grant, ServerGroup]
    GrantFormSetBase = forms.BaseInlineFormSet[Grant, ServerGroup, forms.ModelForm[Grant]]
else:
    GroupModelAdmin = base.ModelAdmin
    GroupModelForm = forms.ModelForm
    GrantModelForm = forms.ModelForm
    GrantStack = base.StackedInline
    GrantFormSetBase = forms.BaseInlineFormSet

MAX_NAMED = 20  # servers that one line of the history names
_CHOSEN = (
    "_servers_after_this_form"  # where the form of a group leaves its servers for the forms of its grants
)


class ServerGroupForm(GroupModelForm):
    """A group and its servers; those the person may not see stay in it, unseen."""

    person: Any = None  # who fills it in, set by the admin
    came: AbstractSet[int] = frozenset()  # primary keys of the servers that the form adds
    went: AbstractSet[int] = frozenset()

    def clean(self) -> dict[str, Any] | None:
        """Refuse servers on which the grants of this group would give what the person has not got himself."""
        cleaned = super().clean() or self.cleaned_data
        before = _members(self.instance)
        if "servers" not in cleaned:
            setattr(self.instance, _CHOSEN, before)
            return cleaned
        seen = set(access.visible(self.person).filter(pk__in=before).values_list("pk", flat=True))
        after = {server.pk for server in cleaned["servers"]} | (before - seen)
        cleaned["servers"] = Server.objects.filter(pk__in=after)
        setattr(self.instance, _CHOSEN, after)
        self.came, self.went = after - before, before - after
        lacking = access.lacking(self.person, _given(self.instance), self.came)
        if lacking:
            self.add_error(
                "servers",
                ValidationError(
                    _(
                        "The grants on this group give more than you may do yourself on the servers you added: %s."
                    )
                    % rights.words(lacking),
                    "not_yours_to_give",
                ),
            )
        return cleaned


class GrantForm(GrantModelForm):
    """A grant with its permissions as boxes to tick."""

    permissions = forms.MultipleChoiceField(
        label=gettext_lazy("Permissions"),
        choices=[(word, rights.LABELS[word]) for word in rights.PERMISSIONS],
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("Every one of them includes seeing the servers."),
        error_messages={"required": gettext_lazy("Choose at least one of the permissions offered.")},
    )

    class Meta:
        model = Grant
        fields = ["user", "user_group", "permissions"]

    def new_words(self) -> list[str]:
        """Return the permissions this form gives to somebody who had not got them by this grant."""
        words: list[str] = self.cleaned_data.get("permissions", [])
        if self.instance._state.adding or {"user", "user_group"}.intersection(self.changed_data):
            return words
        return [word for word in words if word not in self.initial["permissions"]]


class GrantFormSet(GrantFormSetBase):
    """The grants on one group."""

    person: Any = None  # who fills it in, set by the admin

    def clean(self) -> None:
        """Refuse to give what the person has not got himself on every server of the group."""
        super().clean()
        servers = getattr(self.instance, _CHOSEN, None)
        servers = _members(self.instance) if servers is None else servers
        kept: list[Any] = [
            form for form in self.forms if form.is_valid() and not form.cleaned_data.get(DELETION_FIELD_NAME)
        ]
        self._refuse_second_grants(kept)
        for form in kept:
            lacking = access.lacking(self.person, form.new_words(), servers) if form.has_changed() else []
            if lacking:
                form.add_error(
                    "permissions",
                    ValidationError(
                        _("You may not give what you may not do yourself on every server of this group: %s.")
                        % rights.words(lacking),
                        "not_yours_to_give",
                    ),
                )

    def _refuse_second_grants(self, kept: list[Any]) -> None:
        """Say so where one grantee has two grants; Django leaves constraints with a condition to the database."""
        met = set()
        for form in kept:
            grantee = (form.cleaned_data.get("user"), form.cleaned_data.get("user_group"))
            if grantee in met and grantee != (None, None):
                form.add_error(None, ValidationError(_("Put all permissions of one grantee into one grant.")))
            met.add(grantee)


class GrantInline(GrantStack):
    """The grants on a group, on the group's page."""

    model = Grant
    form = GrantForm
    formset = GrantFormSet
    extra = 0

    def get_formset(self, request: HttpRequest, obj: ServerGroup | None = None, **kwargs: Any) -> Any:
        """Tell the forms who fills them in."""
        formset = super().get_formset(request, obj, **kwargs)
        return type(formset.__name__, (formset,), {"person": request.user})

    def get_autocomplete_fields(self, request: HttpRequest) -> list[str]:  # noqa: ARG002 - Django's signature
        """Search people where the panel's admin lets one search them; a panel may have taken them out."""
        related: dict[str, type[models.Model]] = {"user": get_user_model(), "user_group": Group}
        return [name for name, model in related.items() if _searchable(self.admin_site, model)]


@admin.register(ServerGroup)
class ServerGroupAdmin(GroupModelAdmin):
    """Which servers belong together, and who may do what on them."""

    form = ServerGroupForm
    fields = ["name", "servers"]
    inlines = [GrantInline]
    list_display = ["name", "how_many_servers", "to_whom"]
    search_fields = ["name"]  # and servers, by get_search_results
    search_help_text = gettext_lazy("Name of the group, or a server in it")
    autocomplete_fields = ["servers"]

    class Media:
        css = {"all": ["servers/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServerGroup]:
        """Return the groups with what the list tells of them; locked while one is saved, so that two cannot cross."""
        groups = super().get_queryset(request)
        if request.method == "POST" and self._saves(request):
            return groups.select_for_update()
        seen = Q(servers__in=access.visible(request.user))
        return groups.annotate(servers_in_it=Count("servers", filter=seen, distinct=True)).prefetch_related(
            "grants__user", "grants__user_group"
        )

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Let no filter in an address ask which groups hold a server: that may be one this person may not see."""
        if lookup.split("__")[0] == "servers":
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ServerGroup], search_term: str
    ) -> tuple[QuerySet[ServerGroup], bool]:
        """Find groups by their name and by the servers in them that this person may see, each word in either."""
        seen = access.visible(request.user)
        for bit in smart_split(search_term):
            quoted = bit[0] in "\"'" and bit[0] == bit[-1]
            word = unescape_string_literal(bit) if quoted else bit
            servers = seen.filter(Q(name__icontains=word) | Q(agent_id__icontains=word))
            holding = ServerGroup.objects.filter(servers__in=servers)
            queryset = queryset.filter(Q(name__icontains=word) | Q(pk__in=holding.values("pk")))
        return queryset, False

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Tell the form who fills it in, and offer the servers this person may see."""
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"person": request.user})

    def formfield_for_manytomany(
        self, db_field: "models.ManyToManyField[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        """Offer the servers this person may see."""
        if db_field.name == "servers":
            kwargs["queryset"] = access.visible(request.user)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """Name in the history the servers that came and went; the grants name themselves."""
        message: list[Any] = [*super().construct_change_message(request, form, formsets, add)]
        for verb, pks in (("added", form.came), ("deleted", form.went)):
            named = Server.objects.filter(pk__in=pks)[:MAX_NAMED]
            message += [{verb: {"name": "server", "object": str(server)}} for server in named]
        return message

    @admin.display(description=gettext_lazy("servers"), ordering="servers_in_it")
    def how_many_servers(self, group: Any) -> int:
        """How many servers in it this person may see."""
        return int(group.servers_in_it)

    @admin.display(description=gettext_lazy("granted to"))
    def to_whom(self, group: ServerGroup) -> str:
        """Who has rights on it."""
        return ", ".join(sorted(str(grant.user or grant.user_group) for grant in group.grants.all())) or "-"

    def _saves(self, request: HttpRequest) -> bool:
        match = request.resolver_match
        return match is not None and (match.url_name or "").endswith("_change")


def _members(group: ServerGroup) -> set[int]:
    return set(group.servers.values_list("pk", flat=True)) if group.pk else set()


def _given(group: ServerGroup) -> list[str]:
    """Return what the grants on a group give, taken together."""
    if group.pk is None:
        return []
    given = {word for words in group.grants.values_list("permissions", flat=True) for word in words}
    return [word for word in rights.PERMISSIONS if word in given]


def _searchable(site: admin.AdminSite, model: type[models.Model]) -> bool:
    return site.is_registered(model) and bool(site.get_model_admin(model).search_fields)
