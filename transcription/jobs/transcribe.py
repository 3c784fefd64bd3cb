"""The work of a job, once its recording is prepared: transcribe its chunks. What is done when is decided in `jobs`."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from django.conf import settings
from django.db import connection

from transcription.jobs import diarize, lifecycle, speakers
from transcription.jobs.installed_models import is_for_others, load_engine
from transcription.leasing import leases, outages, wakeups
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.models import Chunk, Job
from transcription.recordings import StoredSamples, read_samples
from transcription.speech import catalogue, segments
from transcription.speech.engines.base import (
    Audio,
    Span,
    SpeechEngine,
    SpeechError,
    TranscribedSegment,
)

LANGUAGE_SECONDS = 30.0
"""Whisper hears the language from one window, so that much speech is gathered for it."""
WORK_SECONDS = 30.0
"""How long a worker goes on before it looks whether a job with another model waits."""
LOOK_SECONDS = 0.5

_logger = logging.getLogger(__name__)

stopping = threading.Event()
"""Set when this process is to end: the chunks in hand are finished, no more are begun."""


def work_on_speech() -> None:
    """Transcribe chunks and diarize recordings until nothing is left, or a turn is over.

    Each thread claims, works and commits on its own, so none waits for another at the end of a chunk. One at a
    time diarizes; the others go on transcribing, so there are two at least.
    """
    shift = _Shift()
    if not shift.begin_turn() and not speakers.claimable_diarizations().exists():
        if lifecycle.next_job() is not None and not stopping.wait(LOOK_SECONDS):
            wakeups.wake_speech_workers()  # it is for others: the message was, too
        return
    n_threads = max(shift.n_at_once, 2)
    connection.close()  # the threads have their own: the fewer each worker holds, the more there can be
    with ThreadPoolExecutor(n_threads, thread_name_prefix="speech") as threads:
        for thread in [threads.submit(shift.work) for _ in range(n_threads)]:
            thread.result()
    if stopping.is_set():
        return
    if _next_job() is not None or speakers.claimable_diarizations().exists():
        wakeups.wake_speech_workers()


def _next_job() -> Job | None:
    """The job whose turn it is, of those whose model is not for others."""
    for_others: set[str] = set()
    while (job := lifecycle.next_job(but_with=for_others)) is not None:
        if not is_for_others(job.model_name, role=wakeups.SPEECH):
            return job
        for_others.add(job.model_name)
    return None


class _Shift:
    """What the threads of one call share: whose turn it is, and who does what.

    A turn is WORK_SECONDS with one model. A call has one turn, or several one after the other for as long as
    one of its threads diarizes.
    """

    def __init__(self) -> None:
        self.n_at_once = 0
        self._model_name = ""
        self._ends_at = 0.0
        self._n_transcribing = 0
        self._lock = threading.Lock()
        self._diarizing = threading.Lock()

    def begin_turn(self) -> bool:
        """Take up the model of the job whose turn it is. False when no chunk waits."""
        job = _next_job()
        if job is None:
            return False
        self._model_name = job.model_name
        try:
            self.n_at_once = _engine(job).threads
        except Exception:
            self.n_at_once = 1  # it meets the same error with a chunk in hand, and notes it there
        self._ends_at = time.monotonic() + WORK_SECONDS
        return True

    def work(self) -> None:
        try:
            while not stopping.is_set():
                if outages.wait_out(self._work_on_next, stopping=stopping):
                    continue
                if not self._n_transcribing and not self._diarizing.locked():
                    return
                stopping.wait(LOOK_SECONDS)  # while one works, more may come to share
        except outages.DATABASE_ERRORS:
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
            return diarize.diarize_next(stopping)
        finally:
            self._diarizing.release()

    def _transcribe(self) -> bool:
        with self._lock:
            if not self._may_transcribe():
                return False
            self._n_transcribing += 1
        chunk = None
        try:
            chunk = lifecycle.claim_chunk(model_name=self._model_name)
            if chunk is not None:
                _work_on(chunk)
        finally:
            with self._lock:
                self._n_transcribing -= 1
                if chunk is None and not self._n_transcribing:
                    self._ends_at = 0.0  # nothing is left for this model
        return chunk is not None

    def _may_transcribe(self) -> bool:
        if time.monotonic() < self._ends_at:
            return self._n_transcribing < self.n_at_once
        if self._n_transcribing or not self._diarizing.locked():
            return False
        return self.begin_turn()


def _work_on(chunk: Chunk) -> None:
    """Transcribe and commit one chunk, or note why not."""
    job = chunk.job
    with leases.held(chunk, still_wanted=lifecycle.wanted) as lease:
        try:
            _transcribe(chunk, _engine(job), lease)
        except LeaseLostError:
            _logger.info("Chunk %s of job %s is not wanted any more.", chunk.index, job.pk)
        except outages.DATABASE_ERRORS:
            raise  # not the chunk's fault: it is done again
        except Exception as error:
            if reason := outages.why_later(job, error):
                outages.leave_for_later(job, lease, reason, stopping=stopping)
                return
            _logger.error(
                "Chunk %s of job %s failed: %s",
                chunk.index,
                job.pk,
                error,
                exc_info=diarize.unexpected(error),
            )
            lifecycle.fail_work(
                lease=lease,
                job_id=job.pk,
                error=f"Chunk {chunk.index + 1} failed: {error}",
                can_retry=not isinstance(error, SpeechError) or error.can_retry,
            )


def _transcribe(chunk: Chunk, engine: SpeechEngine, lease: Lease) -> None:
    job = chunk.job
    samples = StoredSamples(job.recording).read(Span(chunk.start, chunk.end))
    if not job.language:
        language = engine.detect_language(_first_speech(job))
        outages.wait_out(
            lambda: lifecycle.set_language(job=job, language=language), stopping=stopping
        )

    def on_progress(fraction: float) -> None:
        lease.progress = round(100 * fraction)
        lease.check()

    transcribed = segments.transcribe(
        engine,
        samples,
        _spans(chunk.streams, chunk.start),
        _spans(chunk.speech, chunk.start),
        language=job.language,
        on_progress=on_progress,
    )
    shifted = [_shifted(segment, chunk.start) for segment in transcribed]
    outages.wait_out(
        lambda: lifecycle.finish_chunk(
            lease=lease,
            chunk=chunk,
            segments=shifted,
            engine=settings.TRANSCRIBER_ENGINE,
            device=engine.device,
        ),
        stopping=stopping,
    )


def _spans(stored: list[list[float]], origin: float) -> list[Span]:
    return [Span(start - origin, end - origin) for start, end in stored]


def _first_speech(job: Job) -> Audio:
    """The first 30 s of speech, however much silence or noise comes before and between."""
    parts: list[Audio] = []
    missing = LANGUAGE_SECONDS
    for chunk in job.chunks.order_by("index").iterator(chunk_size=10):
        for start, end in chunk.streams:  # with their pauses: joined without, speech sounds foreign
            parts.append(read_samples(job.recording, Span(start, min(end, start + missing))))
            missing -= end - start
            if missing <= 0:
                return np.concatenate(parts)
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _shifted(segment: TranscribedSegment, seconds: float) -> TranscribedSegment:
    """The segment with times that count from the start of the recording."""
    return replace(
        segment,
        start=round(segment.start + seconds, 3),
        end=round(segment.end + seconds, 3),
        words=tuple(
            replace(w, start=round(w.start + seconds, 3), end=round(w.end + seconds, 3))
            for w in segment.words
        ),
    )


def _engine(job: Job) -> SpeechEngine:
    """The job's model; while it is downloaded, the job's message tells how far that is."""
    name = catalogue.resolve(job.model_name).name
    told = -1

    def on_progress(done: int, total: int) -> None:
        nonlocal told
        percent = 100 * done // total if total else 0
        if percent > told:
            told = percent
            lifecycle.say(job_id=job.pk, message=f"Downloading the model {name} ({percent}%)")

    return load_engine(model_name=job.model_name, on_progress=on_progress)
