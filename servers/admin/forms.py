"""The forms of a server in the admin."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from agent_client.protocol.handshake import MAX_SECRET_BYTES
from servers import credentials, identity
from servers.errors import SecretNotSendable, SecretTooShort
from servers.models import Server

if TYPE_CHECKING:
    ServerModelForm = forms.ModelForm[Server]
else:
    ServerModelForm = forms.ModelForm


class ChosenSecretField(forms.CharField):
    """A secret a person chose: taken, checked, and never shown again."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("label", _("Chosen secret"))
        kwargs.setdefault("help_text", self._warning())
        super().__init__(
            required=False,
            strip=False,
            max_length=MAX_SECRET_BYTES,
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
            **kwargs,
        )

    @sensitive_variables()
    def validate(self, value: str) -> None:
        """Accept nothing, or a secret that may be stored."""
        super().validate(value)
        if not value:
            return
        try:
            credentials.check_chosen(value)
        except SecretTooShort as exc:
            raise ValidationError(
                _("A secret needs at least %(least)d characters."), "short", {"least": exc.least}
            ) from exc
        except SecretNotSendable as exc:
            raise ValidationError(
                _("Use printable ASCII characters, without spaces at the ends."), "shape"
            ) from exc

    @staticmethod
    def _warning() -> str | Promise:
        return _(
            "Leave this empty: the panel then makes a secret nobody can guess. A chosen secret is weaker, "
            "slower to check, and needs at least 12 characters."
        )


class ServerForm(ServerModelForm):
    """What a person may change of a server; status and secret have pages of their own."""

    class Meta:
        model = Server
        fields = ["name", "agent_id", "connection_type", "tags", "notes", "host", "port", "username"]


class CutOffServerForm(ServerForm):
    """The same when the change ends a tunnel: the person says so first."""

    cut_off = forms.BooleanField(
        label=_("Yes, cut the agent off"),
        help_text=_(
            "This server’s agent knows itself by the old agent ID and dials a tunnel: with what you entered it is "
            "disconnected at once and refused until its own settings say the same."
        ),
        error_messages={"required": _("This cuts the agent off. Tick the box if you mean it.")},
    )


class AddServerForm(ServerForm):
    """A new server: the name is enough."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if agent_id := self.fields.get("agent_id"):
            agent_id.required = False
            agent_id.help_text = _("Leave this empty and it is made from the name.")

    def clean(self) -> dict[str, Any] | None:
        """Make the agent id from the name where none was given."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("name") and not cleaned.get("agent_id") and "agent_id" not in self.errors:
            cleaned["agent_id"] = identity.suggest_agent_id(cleaned["name"])
        return cleaned


class AddServerWithSecretForm(AddServerForm):
    """The same for people who may give secrets."""

    chosen_secret = ChosenSecretField()


class ChosenSecretForm(forms.Form):
    """The one field of the rotation page."""

    chosen_secret = ChosenSecretField()
