"""The admin site of this panel: Django's, with a person's first page after the login."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils.translation import gettext_lazy as _


class PanelAdminSite(admin.AdminSite):
    """Leads from the login to the dashboard, unless the login was on the way to another page."""

    site_header = "Yumna Tunnel"
    site_title = "Yumna Tunnel"
    index_title = _("Administration")

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the login page; who would come to the bare index comes to LOGIN_REDIRECT_URL instead."""
        response = super().login(request, extra_context)
        if isinstance(response, HttpResponseRedirect) and response.url == reverse("admin:index"):
            return HttpResponseRedirect(resolve_url(settings.LOGIN_REDIRECT_URL))
        return response


class PanelAdminConfig(AdminConfig):
    """Puts PanelAdminSite in the place of `admin.site`."""

    default_site = "yumna_panel.admin.PanelAdminSite"
