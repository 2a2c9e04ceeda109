"""The form of the command box: a program with its arguments, a line for a shell, or an action of a service."""

import shlex
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agent_client.protocol.errors import ProtocolError
from agent_client.protocol.limits import MAX_WORD
from agent_client.protocol.text import loads

PROGRAM: Final = "program"
ACTION: Final = "action"

MAX_LINE: Final = 8 * 1024  # characters of a command line; what is longer belongs in a script on the node
MAX_PARAMS: Final = 64 * 1024  # characters of parameters, a quarter of what a message holds
MAX_TIMEOUT: Final = 60  # seconds; proxies give a request about as long
USUAL_TIMEOUT: Final = 10  # seconds


@dataclass(frozen=True)
class Command:
    """What to run, as `servers.nodes` takes it; `timeout` is in seconds."""

    service: str
    action: str
    params: dict[str, Any]
    timeout: float


class CommandForm(forms.Form):
    """Checks what was typed; `command` is what it means."""

    mode = forms.ChoiceField(
        label=_("What to run"),
        choices=[(PROGRAM, _("Program")), (ACTION, _("Service and action"))],
        initial=PROGRAM,
        widget=forms.RadioSelect,
    )
    line = forms.CharField(
        label=_("Command line"),
        required=False,
        max_length=MAX_LINE,
        widget=forms.Textarea(
            {"rows": 2, "spellcheck": "false", "autocapitalize": "off", "autocomplete": "off"}
        ),
    )
    shell = forms.BooleanField(label=_("through a shell (/bin/sh)"), required=False)
    service = forms.CharField(
        label=_("Service"),
        required=False,
        max_length=MAX_WORD,
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    action = forms.CharField(
        label=_("Action"),
        required=False,
        max_length=MAX_WORD,
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    params = forms.CharField(
        label=_("Parameters, as JSON"),
        required=False,
        max_length=MAX_PARAMS,
        widget=forms.Textarea({"rows": 3, "spellcheck": "false", "autocomplete": "off", "placeholder": "{}"}),
    )
    timeout = forms.IntegerField(
        label=_("Time limit in seconds"), min_value=1, max_value=MAX_TIMEOUT, initial=USUAL_TIMEOUT
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "yt-command-%s"} | kwargs)

    def clean(self) -> dict[str, Any]:
        """Judge the fields of the mode that was chosen; the others are not looked at."""
        cleaned: dict[str, Any] = super().clean() or {}
        try:
            if cleaned.get("mode") == PROGRAM and "line" in cleaned:
                cleaned["given"] = _program(cleaned["line"], in_shell=cleaned.get("shell", False))
            elif cleaned.get("mode") == ACTION and {"service", "action", "params"} <= cleaned.keys():
                cleaned["given"] = _action(cleaned["service"], cleaned["action"], cleaned["params"])
        except _Wrong as wrong:
            self.add_error(wrong.field, str(wrong))
        return cleaned

    @property
    def command(self) -> Command:
        """The command of a valid form."""
        service, action, params = self.cleaned_data["given"]
        return Command(service, action, params, float(self.cleaned_data["timeout"]))

    def problems(self) -> dict[str, list[str]]:
        """Return what is wrong, by field."""
        return {name: [str(error) for error in errors] for name, errors in self.errors.items()}


class _Wrong(ValueError):
    """A field that cannot be used, and why."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(field, sentence)
        self.field = field
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


_Given = tuple[str, str, dict[str, Any]]


def _program(line: str, *, in_shell: bool) -> _Given:
    if not line.strip():
        raise _Wrong("line", gettext("Write the program and its arguments."))
    if in_shell:
        return "system", "exec", {"shell": line}
    try:
        argv = shlex.split(line)
    except ValueError:
        raise _Wrong(
            "line", gettext("A quotation mark or a backslash at the end has no counterpart.")
        ) from None
    if not argv or not argv[0]:
        raise _Wrong("line", gettext("The first word must name a program."))
    return "system", "exec", {"argv": argv}


def _action(service: str, action: str, params: str) -> _Given:
    for field, word in (("service", service), ("action", action)):
        if not word:
            raise _Wrong(field, gettext("Write the name, for example “system” and “getUsage”."))
    try:
        return service, action, loads(params or "{}")
    except ProtocolError:
        raise _Wrong("params", gettext('This is no JSON object; one is written like {"limit": 5}.')) from None
