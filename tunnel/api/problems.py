"""Errors as `application/problem+json` (RFC 9457), whatever went wrong and wherever under our prefix."""

import logging
import math
from collections.abc import Iterator
from typing import Any, Final

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import Error as DatabaseError
from django.http import Http404
from django.urls import reverse
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from servers.errors import ChangedMeanwhile, CommandError
from tunnel.api import codes

log = logging.getLogger("tunnel.api")

CONTENT_TYPE: Final = "application/problem+json"
MAX_ERRORS: Final = 50  # places a 400 points at; a body of rubbish could name thousands
MAX_POINTER: Final = 300  # characters of one

_OF_EXCEPTION: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.ParseError, codes.MALFORMED),
    (exceptions.ValidationError, codes.INVALID),
    (exceptions.NotAuthenticated, codes.NOT_AUTHENTICATED),
    (exceptions.AuthenticationFailed, codes.NOT_AUTHENTICATED),
    (exceptions.PermissionDenied, codes.NOT_PERMITTED),
    (DjangoPermissionDenied, codes.NOT_PERMITTED),
    (exceptions.NotFound, codes.NOT_FOUND),
    (Http404, codes.NOT_FOUND),
    (exceptions.MethodNotAllowed, codes.METHOD_NOT_ALLOWED),
    (exceptions.NotAcceptable, codes.NOT_ACCEPTABLE),
    (exceptions.UnsupportedMediaType, codes.UNSUPPORTED_MEDIA_TYPE),
    (exceptions.Throttled, codes.THROTTLED),
    (ChangedMeanwhile, codes.CHANGED_MEANWHILE),
    (DatabaseError, codes.UNAVAILABLE),
)


class Problem(exceptions.APIException):
    """A problem by its code; `members` are added to the answer."""

    def __init__(self, code: str, detail: str = "", *, status: int | None = None, **members: Any) -> None:
        super().__init__(detail or codes.MEANINGS[code].title, code)
        self.code = code
        self.status_code = status or codes.MEANINGS[code].status
        self.members = members


def of_command(error: CommandError, **members: Any) -> Problem:
    """Return the problem that says how a command ended."""
    known = error.code if error.code in codes.MEANINGS else codes.INTERNAL
    status = codes.MEANINGS[known].status
    # The same word from the node and from this interface: here it is the node that speaks.
    if known in (codes.NOT_FOUND, codes.EXISTS, codes.INTERNAL):
        status = 502
    return Problem(known, str(error), status=status, ran=error.ran, **members)


def of_validation(error: DjangoValidationError) -> Problem:
    """Return the problem of a model's own validation: 409 when only a name is taken, else 400."""
    found = [
        {"pointer": "" if name == "__all__" else f"/{name}", "code": one.code or "invalid", "detail": text}
        for name, wrong in error.error_dict.items()
        for one in wrong
        for text in one.messages
    ]
    taken = all(one["code"] == "unique" for one in found)
    return Problem(codes.EXISTS if taken else codes.INVALID, errors=found)


def handle(exc: Exception, context: dict[str, Any]) -> Response:
    """Answer an exception of a view: DRF's exception handler."""
    problem = exc if isinstance(exc, Problem) else _problem(exc)
    if problem.code in (codes.MALFORMED, codes.BODY_TOO_LARGE):  # the place is the body as a whole
        place = {"pointer": "", "code": problem.code, "detail": str(problem.detail)}
        problem.members = {"errors": [place], **problem.members}
    request = context["request"]
    if problem.status_code == codes.MEANINGS[codes.INTERNAL].status:
        log.error("%s %s failed", request.method, request.path, exc_info=exc)
    elif isinstance(exc, DatabaseError):
        log.warning("%s %s: the database is away: %s", request.method, request.path, exc)
    set_rollback()
    headers = {"Content-Language": "en"}
    if (scheme := getattr(exc, "auth_header", None)) and problem.status_code == 401:
        headers["WWW-Authenticate"] = scheme
    if problem.status_code in codes.RETRY_AFTER:
        wait = getattr(exc, "wait", None) or codes.RETRY_AFTER[problem.status_code]
        headers["Retry-After"] = str(math.ceil(wait))
    body = _body(problem, request.path)
    return Response(body, problem.status_code, headers=headers, content_type=CONTENT_TYPE)


def _problem(exc: Any) -> Problem:
    code = next((code for kind, code in _OF_EXCEPTION if isinstance(exc, kind)), codes.INTERNAL)
    if code == codes.INVALID:
        found = list(_places(exc.detail, ""))
        return Problem(code, errors=found[:MAX_ERRORS])
    if isinstance(exc, exceptions.PermissionDenied) and str(exc.detail).startswith("CSRF Failed"):
        return Problem(codes.CSRF_FAILED, str(exc.detail))
    if code == codes.CHANGED_MEANWHILE:
        return Problem(code, str(exc))
    # One body for every way in which a login can be wrong, and none of the words of foreign errors.
    silent = (codes.NOT_AUTHENTICATED, codes.NOT_FOUND)
    speaks = isinstance(exc, exceptions.APIException) and code not in silent
    return Problem(code, str(exc.detail) if speaks else "")


def _body(problem: Problem, path: str) -> dict[str, Any]:
    meaning = codes.MEANINGS[problem.code]
    return {
        "type": reverse("tunnel:api:problem", args=[problem.code]),
        "title": meaning.title,
        "status": problem.status_code,
        "detail": str(problem.detail),
        "code": problem.code,
        "instance": path,
        **problem.members,
    }


def _places(detail: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Yield each error with a JSON pointer (RFC 6901) to its place in the body."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            whole = str(name) == "non_field_errors"
            yield from _places(inner, pointer if whole else f"{pointer}/{_escaped(str(name))}")
    elif isinstance(detail, list):
        for number, inner in enumerate(detail):
            nested = isinstance(inner, dict | list)
            if inner:
                yield from _places(inner, f"{pointer}/{number}" if nested else pointer)
    else:
        yield {
            "pointer": pointer[:MAX_POINTER],
            "code": getattr(detail, "code", "invalid"),
            "detail": str(detail),
        }


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
