"""URLs of this site; the tunnel's pages under admin/tunnel/ come before the admin's own patterns."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(url=settings.LOGIN_REDIRECT_URL)),
    path("", include("tunnel.urls")),
    path("admin/", admin.site.urls),
]
