"""Rows of any model."""

from typing import TypeVar

from django.db.models import Model

Row = TypeVar("Row", bound=Model)


def reload(row: Row) -> Row:
    """The row as it is in the database now."""
    return type(row)._default_manager.get(pk=row.pk)
