"""The command box's other end: one POST runs one command, in bounded time and without a thread that waits for it."""

import logging
import time
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from servers import access, nodes, second_factor
from servers.errors import CommandError
from servers.models import Server
from servers.threads import in_thread
from tunnel.pages import replies, server
from tunnel.pages.command_form import Command, CommandForm
from tunnel.pages.replies import Reply

log = logging.getLogger("tunnel.pages")


@require_http_methods(["GET", "HEAD", "POST"])
async def server_command(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Run what the form says and show the answer: as JSON for the script, else in the whole page.

    A login on the way leads here by GET, which leads on to the page.
    """
    if request.method != "POST":
        return HttpResponseRedirect(reverse("tunnel:server", args=(pk,)))
    for_script = request.get_preferred_type(["text/html", "application/json"]) == "application/json"
    try:
        found = await in_thread(_admit, request, pk)
    except PermissionDenied as exc:
        if not for_script:
            raise
        return JsonResponse({"refused": str(exc)}, status=403)
    if not await in_thread(second_factor.vouch, request):
        confirm = server.confirm_url(found)
        return JsonResponse({"confirm": confirm}, status=403) if for_script else HttpResponseRedirect(confirm)
    form = CommandForm(request.POST)
    if not form.is_valid():
        if for_script:
            return JsonResponse({"problems": form.problems()}, status=400)
        return await in_thread(server.page, request, found, form)
    reply = await _run(found, form.command, request.user)
    if for_script:
        return JsonResponse({"reply": reply.for_script()})
    return await in_thread(server.page, request, found, form, reply)


def _admit(request: HttpRequest, pk: int) -> Server:
    found = server.find(request, pk)
    if not access.allowed(request.user, found, "run_command"):
        log.warning(
            "refused a command from the page user=%s", request.user.pk, extra={"agent": found.agent_id}
        )
        raise PermissionDenied(gettext("You may not run commands on this server."))
    return found


async def _run(found: Server, command: Command, actor: Any) -> Reply:
    began = time.monotonic()
    try:
        data = await nodes.arun(
            found, command.service, command.action, command.params, actor=actor, timeout=command.timeout
        )
    except CommandError as exc:
        return replies.of_error(exc, time.monotonic() - began)
    # In a thread: an agent may answer with a quarter of a megabyte that has to be made visible.
    return await in_thread(replies.of_answer, data, time.monotonic() - began)
