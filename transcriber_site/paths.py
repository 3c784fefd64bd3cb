"""Paths of requests: each leads to the same view with and without a trailing slash."""

from django.urls import is_valid_path


def resolvable_path(path: str) -> str:
    """The path, or its other form if that alone leads to a view."""
    if is_valid_path(path):
        return path
    other = path[:-1] if path.endswith("/") else f"{path}/"
    return other if is_valid_path(other) else path
