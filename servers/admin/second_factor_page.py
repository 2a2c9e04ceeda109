"""The page that asks for a second factor and leads back to where the person was."""

import logging
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from servers import second_factor

log = logging.getLogger("servers.second_factor")

TEMPLATE = "admin/servers/second_factor.html"
MAX_CODE = 32  # characters; recovery codes are longer than six digits


class CodeForm(forms.Form):
    """A code, and which device it is from where there are several."""

    device = forms.ChoiceField(label=gettext_lazy("Device"))
    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=MAX_CODE,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}
        ),
    )

    def __init__(self, request: HttpRequest, devices: list[second_factor.Device]) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        self._request = request
        choices = [(device.id, device.name) for device in devices]
        self.fields["device"] = forms.ChoiceField(
            label=gettext_lazy("Device"),
            choices=choices,
            initial=choices[0][0],
            widget=forms.Select if len(choices) > 1 else forms.HiddenInput,
        )

    @method_decorator(sensitive_variables())
    def clean(self) -> dict[str, Any]:
        """Check the code."""
        given = self.cleaned_data
        if not {"device", "code"} <= given.keys():
            return given
        if not second_factor.confirm(self._request, given["device"], given["code"].strip()):
            log.warning("a second factor was refused user=%s", self._request.user.pk)
            raise forms.ValidationError(
                _("This code is not right, or was used already. After several wrong ones, wait a little.")
            )
        return given


@method_decorator(sensitive_post_parameters("code"), name="__call__")
class SecondFactorPage:
    """The view; any staff member may open it."""

    def __init__(self, site: admin.AdminSite) -> None:
        self._site = site

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Ask, check, go back."""
        if request.method not in ("GET", "HEAD", "POST"):
            raise PermissionDenied
        back = self._back(request)
        if second_factor.recent(request):
            return HttpResponseRedirect(back)
        devices = second_factor.devices(request.user)
        form = CodeForm(request, devices) if devices else None
        if form is not None and form.is_valid():
            log.info("a second factor was accepted user=%s", request.user.pk)
            return HttpResponseRedirect(back)
        context = self._site.each_context(request) | {
            "title": _("Confirm that it is you"),
            "form": form,
            "next": back,
            "minutes": max(1, round(second_factor.lifetime() / 60)),
        }
        return TemplateResponse(request, TEMPLATE, context)

    def _back(self, request: HttpRequest) -> str:
        """Return where the person came from, if it is a page of this panel."""
        back = request.POST.get("next") or request.GET.get("next") or ""
        safe = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
        return back if safe else reverse(f"{self._site.name}:index")
