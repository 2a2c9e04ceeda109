"""API tokens in the admin: people make them for themselves, see them once, and revoke them."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminRadioSelect
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_variables

from servers import access, rights, second_factor, tokens
from servers.admin import base
from servers.errors import TokenNotPossible
from servers.models import ApiToken, ServerGroup
from servers.text import visible

if TYPE_CHECKING:
    TokenModelAdmin = admin.ModelAdmin[ApiToken]
    TokenModelForm = forms.ModelForm[ApiToken]
else:
    TokenModelAdmin = base.ModelAdmin
    TokenModelForm = forms.ModelForm

TEMPLATE = "admin/servers/apitoken/token.html"
LIVES = (7, 30, 90, 180, 365)  # days offered
_TOKEN = "_servers_new_token"  # noqa: S105 - where the request in hand carries it from save to answer


class AddTokenForm(TokenModelForm):
    """What a person says of a new token; the rights offered are those they have."""

    permissions = forms.MultipleChoiceField(
        label=gettext_lazy("permissions"), widget=forms.CheckboxSelectMultiple
    )
    days = forms.TypedChoiceField(
        label=gettext_lazy("expires after"),
        coerce=int,
        initial=tokens.LIFE.days,
        choices=[(days, gettext_lazy("%d days") % days) for days in LIVES],
        widget=AdminRadioSelect,
    )
    user: Any = None  # who asks; set by the admin

    class Meta:
        model = ApiToken
        fields = ["name", "groups"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offered = tokens.offered(self.user)
        self.fields["permissions"].choices = [(word, rights.LABELS[word]) for word in offered]  # type: ignore[attr-defined]
        for name in ("permissions", "days"):
            self.fields[name].label = capfirst(self.fields[name].label)
        seen = ServerGroup.objects.filter(servers__in=access.visible(self.user)).distinct()
        self.fields["groups"].queryset = seen  # type: ignore[attr-defined]
        self.fields["groups"].help_text = _("Choose none for all servers on which you have the permissions.")

    @sensitive_variables()
    def clean(self) -> dict[str, Any] | None:
        """Make the token, so that what is wrong with it is said beside the form."""
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        expires_at = timezone.now() + timedelta(days=cleaned["days"])
        try:
            self.made = tokens.draft(
                self.user,
                cleaned["name"],
                cleaned["permissions"],
                expires_at=expires_at,
                all_servers=not cleaned["groups"],
            )
        except TokenNotPossible as exc:
            raise ValidationError(str(exc)) from exc
        return cleaned


@admin.register(ApiToken)
class ApiTokenAdmin(TokenModelAdmin):
    """Everybody who may do something on servers has this page, with their own tokens; superusers see all."""

    list_display = ["shown_name", "owner", "begins", "standing", "expires_at", "last_used_at"]
    list_display_links = ["shown_name"]
    list_select_related = ["user"]
    search_fields = ["name", "prefix"]
    actions = ["revoke_tokens"]
    filter_horizontal = ["groups"]
    readonly_fields = [
        "shown_name",
        "owner",
        "begins",
        "standing",
        "rights",
        "reach",
        "created_at",
        "expires_at",
        "last_used_at",
    ]

    # Permissions: one's own tokens, and nobody changes one ---------------------------------------------------------

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the entry to who may make a token, or has one."""
        return self.has_add_permission(request) or self.get_queryset(request).exists()

    def has_view_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Show people their own, superusers all."""
        return request.user.is_active and (
            obj is None or request.user.is_superuser or obj.user_id == request.user.pk
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Everybody with a right on some server may give it to a token of their own."""
        return bool(tokens.offered(request.user))

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:  # noqa: ARG002
        """Nobody changes a token: what it may do was decided when it was shown."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:  # noqa: ARG002
        """Tokens are revoked and stay in the list; only with their user they go."""
        return bool(request.user.is_superuser)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Asked by Django before it offers the action, which takes from the person's own list."""
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        """Return the person's tokens."""
        rows = super().get_queryset(request)
        return rows if request.user.is_superuser else rows.filter(user=request.user.pk)

    # Making one ---------------------------------------------------------------------------------------------------

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:  # noqa: ARG002
        """Ask for little, show all."""
        return ["name", "permissions", "groups", "days"] if obj is None else self.readonly_fields

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:  # noqa: ARG002
        """Show all of a token that is there."""
        return [] if obj is None else self.readonly_fields

    def get_form(
        self, request: HttpRequest, obj: ApiToken | None = None, change: bool = False, **kwargs: Any
    ) -> "type[ModelForm[ApiToken]]":
        """Give the form the person who asks."""
        if obj is not None:
            return super().get_form(request, obj, change, **kwargs)
        made = super().get_form(request, obj, change, form=AddTokenForm, fields=["name", "groups"])
        return type("PersonsTokenForm", (made,), {"user": request.user})

    @sensitive_variables()
    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:  # noqa: ARG002
        """Save what the form made."""
        token, draft = form.made
        for name in ("user_id", "prefix", "digest", "permissions", "all_servers", "expires_at"):
            setattr(obj, name, getattr(draft, name))
        obj.save(force_insert=True)
        request.__dict__[_TOKEN] = token

    @sensitive_variables()
    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the token, once."""
        token = request.__dict__.pop(_TOKEN, None)
        if token is None:
            return super().response_add(request, obj, post_url_continue)
        context = self.admin_site.each_context(request) | {
            "title": _("New API token"),
            "opts": self.opts,
            "media": self.media,
            "token": token,
            "original": obj,
        }
        response = TemplateResponse(request, TEMPLATE, context)
        response.headers["Cache-Control"] = "no-store"
        return response

    @method_decorator(sensitive_variables())
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Show the form without the buttons that would lead past the token."""
        if not second_factor.vouch(request) and request.method == "GET":
            link = second_factor.page(back=request.path)
            words = _("A token that runs commands or opens shells needs your second factor first.")
            self.message_user(
                request, format_html('{} <a href="{}">{}</a>', words, link, _("Confirm")), messages.WARNING
            )
        more = {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().add_view(request, form_url, (extra_context or {}) | more)

    # Revoking -----------------------------------------------------------------------------------------------------

    @admin.action(description=gettext_lazy("Revoke selected tokens"), permissions=["revoke"])
    def revoke_tokens(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Make the selected tokens worth nothing."""
        rows = list(queryset)
        count = tokens.revoke(rows)
        for row in rows:
            self.log_change(request, row, _("Revoked."))
        if count:
            said = ngettext("%d token was revoked.", "%d tokens were revoked.", count) % count
            self.message_user(request, said, messages.SUCCESS)
        else:
            self.message_user(
                request, _("Nothing changed: what was selected is of no use already."), messages.WARNING
            )

    # Columns ------------------------------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def shown_name(self, token: ApiToken) -> str:
        """The name, with anything invisible in it made visible."""
        return visible(token.name)

    @admin.display(description=gettext_lazy("user"), ordering="user")
    def owner(self, token: ApiToken) -> str:
        """Whose it is."""
        return visible(token.user)

    @admin.display(description=gettext_lazy("begins with"))
    def begins(self, token: ApiToken) -> str:
        """The letters by which a token in a file is recognised."""
        return f"{token.prefix}…"

    @admin.display(description=gettext_lazy("state"))
    def standing(self, token: ApiToken) -> str:
        """Whether it is good for something."""
        if token.revoked_at is not None:
            return _("Revoked")
        return _("Expired") if token.expires_at <= timezone.now() else _("Valid")

    @admin.display(description=gettext_lazy("permissions"))
    def rights(self, token: ApiToken) -> str:
        """What it may do, as far as its user may."""
        return rights.words(token.permissions)

    @admin.display(description=gettext_lazy("servers"))
    def reach(self, token: ApiToken) -> str:
        """On which servers."""
        if token.all_servers:
            return _("All servers")
        return visible(", ".join(str(group) for group in token.groups.all())) or _("No servers any more")
