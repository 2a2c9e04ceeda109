"""A server in the admin: the list, the forms, and the page that shows its first secret."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from servers import access, credentials, identity, panels
from servers.admin import deletion
from servers.admin.display import EMPTY, VisibleValuesFilter, pretty_json
from servers.admin.forms import AddServerForm, AddServerWithSecretForm, CutOffServerForm, ServerForm
from servers.admin.new_secrets import NewSecret
from servers.admin.verbs import IdentityVerbs
from servers.models import Server
from servers.text import visible

_WHO = (None, {"fields": ["name", "agent_id", "connection_type", "tags", "notes"]})
_NAME = (
    None,
    {
        "fields": ["name"],
        "description": gettext_lazy(
            "A name is enough. The panel makes the agent ID and the secret, shows them once, and waits for the agent."
        ),
    },
)
_MORE = ["agent_id", "tags", "notes", "connection_type", "host", "port", "username"]
_ADDRESS = (
    gettext_lazy("Address"),
    {
        "classes": ["collapse"],
        "description": gettext_lazy("For servers the panel dials. One that dials in needs none."),
        "fields": ["host", "port", "username"],
    },
)
_STATE = (gettext_lazy("Access"), {"fields": ["status", "secret_version", "created_at"]})
_TOLD = (
    gettext_lazy("What the agent told"),
    {
        "fields": [
            "version",
            "machine",
            "facts",
            "services",
            "node_policy",
            "usage",
            "last_usage_at",
            "rtt_seconds",
            "first_seen",
            "last_seen",
        ]
    },
)
_PRIVATE = ("secret_digest",)  # no filter in an address may ask about it: a chosen secret could be guessed so


@admin.register(Server)
class ServerAdmin(IdentityVerbs):
    """Who is managed.

    An admin class of something that hangs on a server (its sessions, say) sets `goes_with_its_server = True` to let
    its rows be deleted together with the server, though nobody may delete them by themselves.
    """

    list_display = [
        "shown_name",
        "shown_agent_id",
        "status",
        "connection_type",
        "version",
        "last_seen",
        "tag_names",
    ]
    list_filter = ["status", "connection_type", "tags", ("agent_version", VisibleValuesFilter)]
    search_fields = ["name", "agent_id", "host", "notes", "tags__name"]
    search_help_text = gettext_lazy("Name, agent ID, host, notes or tag")
    autocomplete_fields = ["tags"]
    change_form_template = "admin/servers/server/change_form.html"
    readonly_fields = [*_STATE[1]["fields"], *_TOLD[1]["fields"]]

    # Permissions: servers.access decides --------------------------------------------------------------------------

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the entry in the index to who may see any server, or add one."""
        return self.has_view_permission(request) or self.has_add_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Server | None = None) -> bool:
        """Ask `servers.access`."""
        return access.allowed(request.user, obj, "view")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Ask `servers.access`."""
        return access.may_add(request.user)

    def has_delete_permission(self, request: HttpRequest, obj: Server | None = None) -> bool:
        """Ask `servers.access`; a server one may not see is not there to be deleted either."""
        return access.may_delete(request.user) and access.allowed(request.user, obj, "view")

    def has_change_permission(self, request: HttpRequest, obj: Server | None = None) -> bool:
        """Ask `servers.access`."""
        return access.allowed(request.user, obj, "change")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Server]:
        """Return the servers this person may see, with their tags in one query more."""
        servers, ordering = access.visible(request.user).prefetch_related("tags"), self.get_ordering(request)
        return servers.order_by(*ordering) if ordering else servers

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Let no filter in an address ask about what no page shows."""
        if lookup.split("__")[0] in _PRIVATE:
            return False
        return super().lookup_allowed(lookup, value, request)

    # Forms --------------------------------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: Server | None = None) -> Any:
        """Adding asks for a name; the rest is there for who wants it."""
        if obj is not None:
            who = (
                (None, {"fields": [*_WHO[1]["fields"], "cut_off"]}) if self._cuts_off(request, obj) else _WHO
            )
            return [who, _STATE, _ADDRESS, _TOLD]
        fields = [*_MORE, "chosen_secret"] if self.has_rotate_secret_permission(request) else _MORE
        return [_NAME, (_("More"), {"classes": ["collapse"], "fields": fields})]

    def get_form(
        self, request: HttpRequest, obj: Server | None = None, change: bool = False, **kwargs: Any
    ) -> "type[ModelForm[Server]]":
        """Offer the field for a chosen secret only to people who may give one."""
        if obj is not None:
            form: type[ServerForm] = CutOffServerForm if self._cuts_off(request, obj) else ServerForm
        else:
            form = AddServerWithSecretForm if self.has_rotate_secret_permission(request) else AddServerForm
        return super().get_form(request, obj, change, **({"form": form} | kwargs))

    def _cuts_off(self, request: HttpRequest, server: Server) -> bool:
        """Tell whether what was sent would end the tunnel of an agent that has been there."""
        if request.method != "POST" or server.last_seen is None:
            return False
        if server.connection_type != Server.ConnectionType.TUNNEL:
            return False
        sent = (request.POST.get("agent_id"), request.POST.get("connection_type"))
        return sent != (server.agent_id, server.connection_type)

    def save_model(self, request: HttpRequest, obj: Server, form: "ModelForm[Server]", change: bool) -> None:
        """Write what the person changed, and nothing that the agent or a colleague changed meanwhile."""
        if change:
            columns = {field.name for field in Server._meta.concrete_fields}
            obj.save(update_fields=columns.intersection(form.changed_data))
            return
        self._give_first_secret(request, obj, form)
        super().save_model(request, obj, form, change)

    @method_decorator(sensitive_post_parameters("chosen_secret"))
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Tell the template which verbs this person has."""
        server = self.get_object(request, unquote(object_id)) if object_id else None
        verbs = {
            "may_change_identity": server is not None and access.allowed(request.user, server, "change"),
            "may_rotate_secret": server is not None and access.allowed(request.user, server, "rotate_secret"),
        }
        if object_id is None:  # what follows is the page with the secret, whichever button was pressed
            verbs |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().changeform_view(request, object_id, form_url, verbs | (extra_context or {}))

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Server | None = None,
    ) -> HttpResponse:
        """Show the tabs of the server, which other apps add to."""
        if obj is not None:
            context["tabs"] = panels.tabs(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def response_add(
        self, request: HttpRequest, obj: Server, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the secret the panel made, in this answer and never again."""
        new_secret = request.__dict__.pop(_NEW_SECRET, None)
        if new_secret is not None:
            return self.show_secrets(request, _("The server was added"), [new_secret])
        if obj.connection_type == Server.ConnectionType.TUNNEL and "_popup" not in request.POST:
            return HttpResponseRedirect(self.verb_url("connect", obj))
        return super().response_add(request, obj, post_url_continue)

    @sensitive_variables()
    def _give_first_secret(self, request: HttpRequest, server: Server, form: "ModelForm[Server]") -> None:
        if chosen := form.cleaned_data.get("chosen_secret"):
            server.secret_digest = credentials.digest_chosen(chosen)
            self.warn_of_chosen_secret(request)
        elif server.connection_type == Server.ConnectionType.TUNNEL:
            request.__dict__[_NEW_SECRET] = NewSecret(server, identity.equip(server))

    # Deletion -----------------------------------------------------------------------------------------------------

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Tell the template whether this person may suspend the server instead."""
        server = self.get_object(request, unquote(object_id))
        may = server is not None and access.allowed(request.user, server, "change")
        return super().delete_view(request, object_id, {"may_suspend": may} | (extra_context or {}))

    def get_deleted_objects(
        self, objs: QuerySet[Server] | Sequence[Server], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Count history that goes with a server as the server's own, not as rows that need a permission of theirs."""
        return deletion.what_goes(objs, request, self.admin_site)

    # Columns ------------------------------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def shown_name(self, server: Server) -> str:
        """The name, with anything invisible in it made visible."""
        return visible(server.name)

    @admin.display(description=gettext_lazy("agent ID"), ordering="agent_id")
    def shown_agent_id(self, server: Server) -> str:
        """The agent id; plain SQL may have written any."""
        return visible(server.agent_id)

    @admin.display(description=gettext_lazy("agent version"), ordering="agent_version")
    def version(self, server: Server) -> str:
        """The version the agent says it has."""
        return visible(server.agent_version) or EMPTY

    @admin.display(description=gettext_lazy("tags"))
    def tag_names(self, server: Server) -> str:
        """The tags, from the prefetched rows."""
        return visible(", ".join(sorted(tag.name for tag in server.tags.all()))) or EMPTY

    @admin.display(description=gettext_lazy("machine ID"))
    def machine(self, server: Server) -> str:
        """The hashed machine id."""
        return format_html('<span class="yt-long">{}</span>', visible(server.machine_id) or EMPTY)

    @admin.display(description=gettext_lazy("host facts"))
    def facts(self, server: Server) -> str:
        """Host name, platform and the like."""
        return pretty_json(server.host_facts)

    @admin.display(description=gettext_lazy("capabilities"))
    def services(self, server: Server) -> str:
        """The services the agent offers."""
        return pretty_json(server.capabilities)

    @admin.display(description=gettext_lazy("policy of the node"))
    def node_policy(self, server: Server) -> str:
        """What the node's own policy says of itself."""
        return pretty_json(server.policy)

    @admin.display(description=gettext_lazy("last usage"))
    def usage(self, server: Server) -> str:
        """The last figures."""
        return pretty_json(server.last_usage)


_NEW_SECRET = "_servers_new_secret"  # noqa: S105 - where the request in hand carries it from save to answer
