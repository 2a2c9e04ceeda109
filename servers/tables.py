"""Are the tables in a database those of an app of ours? Another app may have had the table, or the app's label, before."""

from collections.abc import Iterator, Sequence

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.db import connections, models, router
from django.db.migrations.recorder import MigrationRecorder

SHOWN = 5  # columns a sentence names
RELABEL = "give that app's migrations its new label: UPDATE django_migrations SET app = 'its_new_label' WHERE app = '%s'"


def foreign(
    app_label: str, databases: Sequence[str] | None, id_: str, *, signature: dict[str, frozenset[str]]
) -> list[CheckMessage]:
    """Return an error for each table that is there under the name of one of ours and lacks columns of it.

    Once the app's first migration is applied only the columns of `signature` (by table) are looked for: a later
    migration that is still to come is no sign of another app.
    """
    return [
        Error(
            f"the database {alias!r} has a table {table!r} that is not Yumna Tunnel's: it lacks "
            f"{', '.join(sorted(lacking)[:SHOWN])}{', …' if len(lacking) > SHOWN else ''}",
            hint=f'rename that table, its model goes on with Meta.db_table = "old_{table}"',
            id=id_,
        )
        for alias in databases or ()
        for table, lacking in _foreign(app_label, alias, signature)
    ]


def recorded_only(
    app_label: str, databases: Sequence[str] | None, id_: str, *, table: str
) -> list[CheckMessage]:
    """Return an error for each database whose record says that this app's tables were made, though they were not."""
    return [
        Error(
            f"the database {alias!r} records migrations of `{app_label}` but has no table {table!r}: another app had "
            "this label before, and `migrate` would make nothing",
            hint=RELABEL % app_label,
            id=id_,
        )
        for alias in databases or ()
        if _is_applied(app_label, alias) and table not in _tables(alias)
    ]


def _foreign(
    app_label: str, alias: str, signature: dict[str, frozenset[str]]
) -> Iterator[tuple[str, set[str]]]:
    applied, there = _is_applied(app_label, alias), _tables(alias)
    for model in apps.get_app_config(app_label).get_models(include_auto_created=True):
        table = model._meta.db_table
        if model._meta.proxy or table not in there or not router.allow_migrate_model(alias, model):
            continue
        wanted = signature.get(table, frozenset()) if applied else _columns(model)
        lacking = wanted - _columns_there(alias, table)
        if lacking:
            yield table, set(lacking)


def _columns(model: type[models.Model]) -> frozenset[str]:
    return frozenset(str(field.column) for field in model._meta.concrete_fields)


def _is_applied(app_label: str, alias: str) -> bool:
    return (app_label, "0001_initial") in MigrationRecorder(connections[alias]).applied_migrations()


def _tables(alias: str) -> set[str]:
    connection = connections[alias]
    with connection.cursor() as cursor:
        return set(connection.introspection.table_names(cursor))


def _columns_there(alias: str, table: str) -> set[str]:
    connection = connections[alias]
    with connection.cursor() as cursor:
        return {column.name for column in connection.introspection.get_table_description(cursor, table)}
