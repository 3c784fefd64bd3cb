"""Requests wait for their retranslations: one thread a process reads the rows of all of them, and wakes who waits."""

import logging
import threading
import time
from uuid import UUID

from django.db import Error as DatabaseFailure
from django.db import close_old_connections, connection

from retranslation import services

POLL_SECONDS = 0.1

_logger = logging.getLogger(__name__)


class EndReader:
    """Reads with one query, every POLL_SECONDS, which retranslations have ended; only while somebody waits."""

    def __init__(self) -> None:
        self._ended: dict[UUID, threading.Event] = {}
        self._is_reading = False
        self._lock = threading.Lock()

    def wait(self, retranslation_id: UUID, *, seconds: float) -> None:
        """Return when the retranslation is done, failed or deleted, or after so many seconds."""
        close_old_connections()  # a wait may take minutes, and database connections are limited
        ended = threading.Event()
        with self._lock:
            self._ended[retranslation_id] = ended
            if not self._is_reading:
                self._is_reading = True
                threading.Thread(target=self._read, name="retranslations", daemon=True).start()
        try:
            ended.wait(seconds)
        finally:
            with self._lock:
                del self._ended[retranslation_id]

    def _read(self) -> None:
        while ids := self._awaited():
            try:
                self._wake(ids - services.unfinished(ids))
            except DatabaseFailure as error:
                _logger.warning("Retranslations could not be read: %s", error)
                connection.close()
            except Exception:  # no exception may leave those who wait without a reader
                _logger.exception("Retranslations could not be read.")
            time.sleep(POLL_SECONDS)
        connection.close()

    def _awaited(self) -> set[UUID]:
        with self._lock:
            ids = {one for one, ended in self._ended.items() if not ended.is_set()}
            self._is_reading = bool(ids)
        return ids

    def _wake(self, ids: set[UUID]) -> None:
        with self._lock:
            for one in ids & self._ended.keys():
                self._ended[one].set()


_reader = EndReader()


def wait_for_end(retranslation_id: UUID, *, seconds: float) -> None:
    """Return when the retranslation is done, failed or deleted, or after so many seconds."""
    _reader.wait(retranslation_id, seconds=seconds)
