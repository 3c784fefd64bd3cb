"""What recovery does for people's rows: it deletes what has expired."""

from accounts import audit, limits


def recover() -> None:
    """Delete what no longer counts for limits, and entries of the audit log that are too old. Idempotent."""
    limits.expire()
    audit.expire()
