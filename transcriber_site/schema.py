"""The API's schema, built once a process: it is the same for every request, and takes a second to build."""

from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator


class Generator(SchemaGenerator):
    def get_schema(self, request: Any = None, public: bool = False) -> Any:
        return _schema()


@cache
def _schema() -> Any:
    generator: Any = SchemaGenerator  # drf-spectacular has no types for it
    return generator().get_schema(public=True)
