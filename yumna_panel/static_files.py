"""WhiteNoise for the event loop: its own middleware is synchronous, and under ASGI every request would hold a thread.

A command over REST waits up to half a minute for a slow node; behind a synchronous middleware it would wait in a thread.
"""

from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFiles(WhiteNoiseMiddleware):
    """Serves static files, and lets everything else pass in the way it came."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self._on_loop = iscoroutinefunction(get_response)
        if self._on_loop:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Answer the request, or return an awaitable that does."""
        return self._on_event_loop(request) if self._on_loop else super().__call__(request)

    async def _on_event_loop(self, request: Any) -> Any:
        if not request.path_info.startswith(self.static_prefix):
            return await self.get_response(request)
        return await sync_to_async(self._answer, thread_sensitive=False)(request) or await self.get_response(
            request
        )

    def _answer(self, request: Any) -> Any:
        """Return the file's response, None when there is no such file."""
        path = request.path_info
        found = self.find_file(path) if self.autorefresh else self.files.get(path)
        return None if found is None else self.serve(found, request)
