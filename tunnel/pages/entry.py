"""The admin's door for views that wait on a node: what `admin.site.admin_view` asks, without holding a thread after it."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.cache import never_cache

from servers.threads import in_thread

AsyncView = Callable[..., Awaitable[HttpResponseBase]]
View = Callable[..., Any]  # an async one, which Django's own types do not know


def admin_async(view: AsyncView) -> View:
    """Wrap an async view: the site's own door is asked in a thread, with all that a host panel added to it."""

    @wraps(view)
    async def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        passed = HttpResponse()
        answer: HttpResponseBase = await in_thread(admin.site.admin_view(lambda _: passed), request)
        return await view(request, *args, **kwargs) if answer is passed else answer

    return never_cache(guarded)
