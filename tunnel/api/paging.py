"""Pages: numbered ones for what people look through, a cursor for what grows at its end.

Links are paths, not whole addresses: a proxy that hides TLS must not lead a program with its token to plain HTTP.
"""

import base64
import binascii
import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.core.exceptions import ValidationError as _DjangoValidationError
from django.db.models import Q, QuerySet
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.utils.urls import replace_query_param

PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 500
MAX_CURSOR: Final = 300  # characters; ours have about 120


def page_size(request: Any) -> int:
    """Return how many rows a page has.

    Raises:
        ValidationError: `page_size` is no number from 1 to MAX_PAGE_SIZE.
    """
    text = request.query_params.get("page_size")
    if text is None:
        return PAGE_SIZE
    if not (
        text.isascii()
        and text.isdigit()
        and len(text) <= len(str(MAX_PAGE_SIZE))
        and 1 <= int(text) <= MAX_PAGE_SIZE
    ):
        raise bad_parameter("page_size", f"a number from 1 to {MAX_PAGE_SIZE}")
    return int(text)


def bad_parameter(name: str, wanted: str) -> ValidationError:
    """Return the error of a query parameter."""
    return ValidationError({name: [ErrorDetail(f"must be {wanted}", code="invalid")]})


class Pages(PageNumberPagination):
    """`?page=`, with how many there are in all."""

    page_query_param = "page"
    page_size_query_param = "page_size"
    page_size = PAGE_SIZE
    max_page_size = MAX_PAGE_SIZE
    last_page_strings = ()
    invalid_page_message = "there is no such page"

    def get_page_size(self, request: Any) -> int:
        """Return what was asked for."""
        return page_size(request)

    def get_next_link(self) -> str | None:
        """Return the path of the next page."""
        return self._link(self.page.next_page_number()) if self.page.has_next() else None

    def get_previous_link(self) -> str | None:
        """Return the path of the page before."""
        return self._link(self.page.previous_page_number()) if self.page.has_previous() else None

    def _link(self, number: int) -> str:
        return str(replace_query_param(self.request.get_full_path(), self.page_query_param, number))


@dataclass(frozen=True)
class Source:
    """Rows of one kind, newest first; `at` is the field that says when."""

    kind: str
    rows: QuerySet[Any]
    at: str


@dataclass(frozen=True)
class _Position:
    """The last row of a page."""

    at: datetime
    kind: str
    pk: str


def after(request: Any, sources: Sequence[Source]) -> tuple[list[tuple[str, Any]], str | None]:
    """Return the rows after the request's cursor with their kinds, and the path of the page after them.

    One query a source. Rows of the same moment are told apart by kind and primary key, so none is left out.

    Raises:
        ValidationError: the cursor is none of ours.
    """
    size = page_size(request)
    position = _position(request, sources)
    streams = [_stream(source, order, position, sources, size + 1) for order, source in enumerate(sources)]
    found = [
        row for _, row in zip(range(size + 1), heapq.merge(*streams, key=lambda one: one[0]), strict=False)
    ]
    rows = [(sources[key[1]].kind, row) for key, row in found[:size]]
    if len(found) <= size:
        return rows, None
    kind, last = rows[-1]
    source = next(source for source in sources if source.kind == kind)
    cursor = _cursor(_Position(getattr(last, source.at), kind, str(last.pk)))
    return rows, replace_query_param(request.get_full_path(), "cursor", cursor)


def _stream(
    source: Source, order: int, position: _Position | None, sources: Sequence[Source], most: int
) -> Iterator[tuple[tuple[float, int], Any]]:
    rows = source.rows.order_by(f"-{source.at}", "-pk")
    if position is not None:
        rows = rows.filter(_behind(source, order, position, sources))
    for row in rows[:most]:
        yield (-getattr(row, source.at).timestamp(), order), row


def _behind(source: Source, order: int, position: _Position, sources: Sequence[Source]) -> Q:
    """Say which rows of a source come after the position: by time, then by kind, then by primary key."""
    earlier = Q(**{f"{source.at}__lt": position.at})
    there = next(number for number, one in enumerate(sources) if one.kind == position.kind)
    if order < there:
        return earlier
    same_moment = Q(**{source.at: position.at})
    return earlier | (same_moment if order > there else same_moment & Q(pk__lt=position.pk))


def _cursor(position: _Position) -> str:
    text = json.dumps([position.at.isoformat(), position.kind, position.pk])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(request: Any, sources: Sequence[Source]) -> _Position | None:
    text = request.query_params.get("cursor")
    if text is None:
        return None
    try:
        if len(text) > MAX_CURSOR:
            raise ValueError("too long")
        at, kind, pk = json.loads(
            base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        )
        moment = datetime.fromisoformat(at)
        source = next((source for source in sources if source.kind == kind), None)
        if source is None or moment.tzinfo is None:
            raise ValueError("not ours")
        position = _Position(moment.astimezone(UTC), kind, pk)  # near the years 1 and 9999 there is none
        source.rows.model._meta.pk.to_python(pk)
    except (
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        binascii.Error,
        _DjangoValidationError,
    ) as exc:
        raise bad_parameter("cursor", "one that `next` of another page holds") from exc
    return position
