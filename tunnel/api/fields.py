"""Fields that take what they say and nothing that could be turned into it, and objects without unknown members."""

from datetime import UTC
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError


class Text(serializers.CharField):
    """A string; a number is none."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the text.

        Raises:
            ValidationError: it is no string, or holds what no database takes.
        """
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Number(serializers.FloatField):
    """A number; a string of digits is none."""

    def to_internal_value(self, data: Any) -> Any:
        """Return a float.

        Raises:
            ValidationError: it is no number.
        """
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class Whole(serializers.IntegerField):
    """A whole number; a string of digits is none."""

    def to_internal_value(self, data: Any) -> Any:
        """Return an integer.

        Raises:
            ValidationError: it is no whole number.
        """
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class Moment(serializers.DateTimeField):
    """RFC 3339 in UTC, whatever the site's time zone and REST_FRAMEWORK are."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso-8601", default_timezone=UTC, **kwargs)


class Strict(serializers.Serializer):
    """An object whose members are all known."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the values.

        Raises:
            ValidationError: a member is wrong, or unknown.
        """
        unknown = set(data) - set(self.fields) if isinstance(data, dict) else ()
        errors: dict[str, Any] = {
            name: [ErrorDetail("there is no such member", code="unknown")] for name in sorted(unknown)
        }
        try:
            values = super().to_internal_value(data)
        except ValidationError as exc:
            raise ValidationError({**exc.detail, **errors}) from exc
        if errors:
            raise ValidationError(errors)
        return values


class Empty(Strict):
    """A body without members, for what is said by the address alone."""
