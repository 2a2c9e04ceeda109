"""The pages and list actions that change a server's identity: suspend, reactivate, rotate secret."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from servers import access, identity
from servers.admin import base
from servers.admin.forms import ChosenSecretForm
from servers.admin.new_secrets import NewSecret, connect_page, secret_page
from servers.admin.second_factor_page import SecondFactorPage
from servers.errors import ChangedMeanwhile
from servers.models import Server
from servers.text import visible

if TYPE_CHECKING:
    ServerModelAdmin = admin.ModelAdmin[Server]
else:
    ServerModelAdmin = base.ModelAdmin

CONFIRM_TEMPLATE = "admin/servers/server/confirm.html"


class IdentityVerbs(ServerModelAdmin):
    """Mixed into the admin of servers; every verb asks `servers.access` for each server it touches."""

    actions = ["suspend_servers", "reactivate_servers", "rotate_secrets"]

    def get_urls(self) -> list[URLPattern]:
        """Add one page a verb, before Django's catch-all."""
        pages = {"suspend": self.suspend_page, "reactivate": self.reactivate_page, "rotate": self.rotate_page}
        pages |= {"connect": self.connect_page}
        verbs = [
            path(
                f"<path:object_id>/{verb}/",
                self.admin_site.admin_view(require_http_methods(["GET", "HEAD", "POST"])(page)),
                name=f"servers_server_{verb}",
            )
            for verb, page in pages.items()
        ]
        ask = self.admin_site.admin_view(SecondFactorPage(self.admin_site))
        return [path("second-factor/", ask, name="servers_second_factor"), *verbs, *super().get_urls()]

    def has_rotate_secret_permission(self, request: HttpRequest) -> bool:
        """Asked by Django before it offers the rotation."""
        return access.allowed(request.user, None, "rotate_secret")

    @admin.action(description=gettext_lazy("Suspend selected servers"), permissions=["change"])
    def suspend_servers(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        """Refuse and cut off the agents of the selected servers."""
        self._report(request, _suspended, self._each(request, queryset, identity.suspend))

    @admin.action(description=gettext_lazy("Reactivate selected servers"), permissions=["change"])
    def reactivate_servers(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        """Let the selected servers back in."""
        self._report(request, _reactivated, self._each(request, queryset, identity.reactivate))

    @admin.action(
        description=gettext_lazy("Rotate secrets of selected servers…"), permissions=["rotate_secret"]
    )
    def rotate_secrets(self, request: HttpRequest, queryset: QuerySet[Server]) -> HttpResponse:
        """Ask, then make new secrets and show them once."""
        servers = self._permitted(request, queryset, "rotate_secret")
        if "confirmed" in request.POST:
            return self._rotate(request, servers)
        return self._confirm(request, "rotate", servers, chosen_from_list=True)

    def suspend_page(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Ask, then suspend one server."""
        server = self._one(request, object_id, "change")
        if request.method != "POST":
            return self._confirm(request, "suspend", [server])
        self._report(request, _suspended, int(identity.suspend(server, by=request.user)))
        return self._back_to(server)

    def reactivate_page(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Ask, then let one server back in."""
        server = self._one(request, object_id, "change")
        if request.method != "POST":
            return self._confirm(request, "reactivate", [server])
        self._report(request, _reactivated, int(identity.reactivate(server, by=request.user)))
        return self._back_to(server)

    @method_decorator(sensitive_post_parameters("chosen_secret"))
    @sensitive_variables()
    def rotate_page(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Ask, then give one server a new secret: the panel's own, or a chosen one."""
        server = self._one(request, object_id, "rotate_secret")
        form = ChosenSecretForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._confirm(request, "rotate", [server], form=form)
        if not self._as_asked(request, [server]):
            return self._back_to(server)
        if chosen := form.cleaned_data["chosen_secret"]:
            try:
                identity.set_secret(server, chosen, by=request.user)
            except ChangedMeanwhile as exc:
                self.message_user(request, _sentence(exc), messages.ERROR)
            else:
                self.warn_of_chosen_secret(request)
            return self._back_to(server)
        return self._rotate(request, [server])

    def connect_page(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Show what the agent of one server needs, without its secret, and wait for it."""
        server = self._one(request, object_id, "view")
        title = _("Connect %s") % visible(server)
        return connect_page(request, self._page_context(request, title), server)

    def show_secrets(self, request: HttpRequest, title: str, new_secrets: list[NewSecret]) -> HttpResponse:
        """Show new secrets, this once."""
        return secret_page(request, self._page_context(request, title), new_secrets)

    def verb_url(self, verb: str, server: Server) -> str:
        """Return the address of one of the pages of a server."""
        return reverse(f"{self.admin_site.name}:servers_server_{verb}", args=[server.pk])

    def warn_of_chosen_secret(self, request: HttpRequest) -> None:
        """Say that a chosen secret is in force, without saying which."""
        self.message_user(
            request,
            _(
                "The chosen secret is in force. It is weaker than one the panel makes: rotate it when you can."
            ),
            messages.WARNING,
        )

    @sensitive_variables()
    def _rotate(self, request: HttpRequest, servers: Iterable[Server]) -> HttpResponse:
        new_secrets = []
        for server in self._as_asked(request, servers):
            try:
                new_secrets.append(NewSecret(server, identity.rotate_secret(server, by=request.user)))
            except ChangedMeanwhile as exc:
                self.message_user(request, _sentence(exc), messages.ERROR)
        title = ngettext("New secret", "New secrets", len(new_secrets))
        return self.show_secrets(request, title, new_secrets)

    def _as_asked(self, request: HttpRequest, servers: Iterable[Server]) -> list[Server]:
        """Return the servers whose secret is still the one the page asked about: a page sent twice rotates once."""
        same = []
        for server in servers:
            if request.POST.get(f"secret_version_{server.pk}") == str(server.secret_version):
                same.append(server)
            else:
                self.message_user(request, _sentence(ChangedMeanwhile(visible(server))), messages.ERROR)
        return same

    def _confirm(
        self,
        request: HttpRequest,
        verb: str,
        servers: list[Server],
        *,
        form: ChosenSecretForm | None = None,
        chosen_from_list: bool = False,
    ) -> HttpResponse:
        title, effect = _QUESTIONS[verb]
        context = self._page_context(request, str(title)) | {
            "verb": verb,
            "effect": effect,
            "servers": servers,
            "form": form,
            "action": "rotate_secrets" if chosen_from_list else "",
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, CONFIRM_TEMPLATE, context)

    def _page_context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return self.admin_site.each_context(request) | {
            "title": title,
            "opts": self.opts,
            "media": self.media,
        }

    def _one(self, request: HttpRequest, object_id: str, perm: str) -> Server:
        """Return the server of a page; who may not do this gets 403 for those that do not exist, too."""
        if not access.allowed(request.user, None, perm):
            raise PermissionDenied
        server = self.get_object(request, object_id)
        if server is None or not access.allowed(request.user, server, perm):
            raise PermissionDenied
        return server

    def _permitted(self, request: HttpRequest, queryset: QuerySet[Server], perm: str) -> list[Server]:
        """Return those of the selected servers on which the person may do this, whatever the browser sent."""
        return list(access.permitting(request.user, perm).filter(pk__in=queryset.values("pk")))

    def _each(self, request: HttpRequest, queryset: QuerySet[Server], verb: Callable[..., bool]) -> int:
        servers = self._permitted(request, queryset, "change")
        return sum(verb(server, by=request.user) for server in servers)

    def _report(self, request: HttpRequest, sentence: Callable[[int], str], count: int) -> None:
        self.message_user(request, sentence(count), messages.SUCCESS if count else messages.WARNING)

    def _back_to(self, server: Server) -> HttpResponseRedirect:
        return HttpResponseRedirect(self.verb_url("change", server))


_QUESTIONS = {
    "suspend": (
        gettext_lazy("Suspend server"),
        gettext_lazy("The agent is cut off at once and refused until the server is reactivated."),
    ),
    "reactivate": (
        gettext_lazy("Reactivate server"),
        gettext_lazy("The agent may connect again with the secret it has."),
    ),
    "rotate": (
        gettext_lazy("Rotate secret"),
        gettext_lazy(
            "The old secret is worth nothing from that moment: the agent is cut off and stays refused "
            "until its settings hold the new one."
        ),
    ),
}


def _suspended(count: int) -> str:
    return (
        ngettext("%d server was suspended.", "%d servers were suspended.", count) % count
        if count
        else _("Nothing changed: what was selected is suspended already.")
    )


def _reactivated(count: int) -> str:
    return (
        ngettext("%d server was reactivated.", "%d servers were reactivated.", count) % count
        if count
        else _("Nothing changed: what was selected is not suspended.")
    )


def _sentence(exc: ChangedMeanwhile) -> str:
    return _("%s was changed by somebody else meanwhile, look again before you repeat this.") % exc.what
