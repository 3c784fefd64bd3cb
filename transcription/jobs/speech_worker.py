"""A speech worker's threads: they transcribe chunks and diarize recordings until none is left."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from transcription.jobs import diarize, transcribe
from transcription.jobs.installed_models import is_left_to_others
from transcription.leasing.outages import DATABASE_ERRORS, wait_out
from transcription.leasing.registry import SPEECH
from transcription.leasing.workers import stopping
from transcription.models import Job
from transcription.wake import wake_speech_workers

SLICE_SECONDS = 30.0
"""How long a worker stays with one model before it looks whether a job with another model waits."""
POLL_SECONDS = 0.5


def work_on_speech() -> None:
    """Transcribe chunks and diarize recordings until nothing is left or the time slice is over.

    Each thread claims, works and commits on its own, so none waits for another at the end of a chunk. At most one
    thread diarizes while the others transcribe, so there are at least two.
    """
    time_slice = _TimeSlice()
    if not time_slice.begin() and not diarize.claimable_diarizations().exists():
        if transcribe.next_job() is not None and not stopping.wait(POLL_SECONDS):
            wake_speech_workers()  # only other workers have the model, so pass the message on
        return
    n_threads = max(time_slice.max_transcribing, 2)
    connection.close()  # each thread has its own; fewer for each worker allow more workers
    with ThreadPoolExecutor(n_threads, thread_name_prefix="speech") as threads:
        for thread in [threads.submit(time_slice.work) for _ in range(n_threads)]:
            thread.result()
    if stopping.is_set():
        return
    if _next_job() is not None or diarize.claimable_diarizations().exists():
        wake_speech_workers()


def _next_job() -> Job | None:
    """The job whose chunk is next, among those whose model this worker has or can download."""
    models_of_others: set[str] = set()
    while (job := transcribe.next_job(except_models=models_of_others)) is not None:
        if not is_left_to_others(job.model_name, role=SPEECH):
            return job
        models_of_others.add(job.model_name)
    return None


class _TimeSlice:
    """State that the threads of one `work_on_speech` share: the model of the current time slice, and who does what.

    A slice is SLICE_SECONDS with one model. One call takes one slice, or several in a row while a thread of it
    diarizes.
    """

    def __init__(self) -> None:
        self.max_transcribing = 0
        self._model_name = ""
        self._ends_at = 0.0
        self._n_transcribing = 0
        self._lock = threading.Lock()
        self._diarizing = threading.Lock()

    def begin(self) -> bool:
        """Load the model of the next job and start a slice with it. False if no chunk waits."""
        job = _next_job()
        if job is None:
            return False
        self._model_name = job.model_name
        try:
            self.max_transcribing = transcribe.load_job_engine(job).threads
        except Exception:
            self.max_transcribing = 1  # `transcribe_next` meets the same error and saves it
        self._ends_at = time.monotonic() + SLICE_SECONDS
        return True

    def work(self) -> None:
        """Run one thread until nothing is left to do. Waits out outages of the database."""
        try:
            while not stopping.is_set():
                if wait_out(self._work_on_next):
                    continue
                if not self._n_transcribing and not self._diarizing.locked():
                    return
                stopping.wait(POLL_SECONDS)  # while another thread works, more may come
        except DATABASE_ERRORS:
            if not stopping.is_set():
                raise
        finally:
            connection.close()

    def _work_on_next(self) -> bool:
        return self._diarize() or self._transcribe()

    def _diarize(self) -> bool:
        if not self._diarizing.acquire(blocking=False):
            return False
        try:
            return diarize.diarize_next()
        finally:
            self._diarizing.release()

    def _transcribe(self) -> bool:
        with self._lock:
            if not self._may_transcribe():
                return False
            self._n_transcribing += 1
        was_transcribed = True
        try:
            was_transcribed = transcribe.transcribe_next(model_name=self._model_name)
        finally:
            with self._lock:
                self._n_transcribing -= 1
                if not was_transcribed and not self._n_transcribing:
                    self._ends_at = 0.0  # nothing is left for this model
        return was_transcribed

    def _may_transcribe(self) -> bool:
        if time.monotonic() < self._ends_at:
            return self._n_transcribing < self.max_transcribing
        if self._n_transcribing or not self._diarizing.locked():
            return False
        return self.begin()
