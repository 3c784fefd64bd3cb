"""The work of a retranslation: load the audio, transcribe the range, commit. `services` decides what comes next."""

import logging
import time
from dataclasses import asdict
from typing import Any, BinaryIO, cast

import numpy as np
from django.db.models import Q, QuerySet

from retranslation import services
from retranslation.models import Retranslation
from transcription.jobs.installed_models import is_left_to_others, load_engine
from transcription.jobs.later import reason_files_missing
from transcription.leasing import leases
from transcription.leasing.leases import Lease, LeaseLostError
from transcription.leasing.registry import INTERACTIVE
from transcription.models import Job, Segment
from transcription.recordings import has_samples, read_samples
from transcription.speech import audio, ranges
from transcription.speech.engines.base import SAMPLE_RATE, Audio, Span, SpeechError, Word
from transcription.transcript.speaker_split import text_matches_words

_logger = logging.getLogger(__name__)


def transcribe_next(candidates: "QuerySet[Retranslation]") -> bool:
    """Transcribe the first claimable candidate, or save why it failed. False if this worker can do none."""
    left_to_others = _models_left_to_others(candidates)
    retranslation = services.claim(candidates.exclude(model_name__in=left_to_others))
    if retranslation is None:
        return False
    with leases.keep_renewed(retranslation, condition=Q) as lease:
        try:
            _transcribe(retranslation, lease)
        except LeaseLostError:
            _logger.info("Retranslation %s was deleted or lost its lease.", retranslation.pk)
        except _FilesElsewhereError as error:
            _logger.error("Retranslation %s has to wait: %s", retranslation.pk, error)
            lease.release(reason=str(error))
            return False
        except Exception as error:
            _fail(retranslation, lease, error)
    return True


class _FilesElsewhereError(Exception):
    """This machine does not see the recording's files, but another one may; the text says so."""


def _models_left_to_others(candidates: "QuerySet[Retranslation]") -> list[str]:
    names = candidates.order_by().values_list("model_name", flat=True).distinct()
    return [name for name in names if is_left_to_others(name, role=INTERACTIVE)]


def _fail(retranslation: Retranslation, lease: Lease, error: Exception) -> None:
    if isinstance(error, SpeechError | audio.NotAudioError):
        _logger.error("Retranslation %s failed: %s", retranslation.pk, error)
        reason, can_retry = str(error), isinstance(error, SpeechError) and error.can_retry
    else:
        _logger.error("Retranslation %s failed.", retranslation.pk, exc_info=error)
        reason, can_retry = f"Unexpected error: {error!r}", True
    services.fail(lease=lease, retranslation=retranslation, error=reason, can_retry=can_retry)


def _transcribe(retranslation: Retranslation, lease: Lease) -> None:
    started_at = time.monotonic()

    def on_progress(done: int, total: int) -> None:
        lease.progress = 100 * done // total if total else 0
        lease.check()

    samples, origin, span = _load_audio(retranslation)
    engine = load_engine(model_name=retranslation.model_name, on_progress=on_progress)
    lease.check()
    transcribed = ranges.transcribe_range(
        engine,
        samples,
        origin=origin,
        span=span,
        language=retranslation.requested_language,
        reference_words=_known_words(retranslation, span),
    )
    services.finish(
        lease=lease,
        retranslation=retranslation,
        text=transcribed.text,
        words=[asdict(word) for word in transcribed.words],
        confidence=transcribed.confidence,
        language=transcribed.language,
        model_used=retranslation.model_name,
        device=engine.device,
        **_replaced_content(retranslation),
    )
    _logger.info(
        "Retranslation %s: %.1f s of audio in %.2f s",
        retranslation.pk,
        span.duration,
        time.monotonic() - started_at,
    )


# ---- Audio


def _load_audio(retranslation: Retranslation) -> tuple[Audio, float, Span]:
    """The samples, their start, and the range to transcribe, in seconds from the start of the recording.

    Raises SpeechError, NotAudioError, and _FilesElsewhereError.
    """
    if retranslation.clip:
        samples = _decode_clip(retranslation)
        origin = retranslation.start
        return samples, origin, Span(origin, origin + len(samples) / SAMPLE_RATE)
    assert retranslation.job is not None, "a retranslation without a clip has a job"
    recording = retranslation.job.recording
    span = Span(retranslation.start, retranslation.end)
    if not has_samples(recording, span):
        if reason := reason_files_missing(recording):
            raise _FilesElsewhereError(reason)
        raise SpeechError("The recording's audio was deleted or has expired.")
    read = ranges.with_context(span, duration=recording.duration or span.end)
    return read_samples(recording, read), read.start, span


def _decode_clip(retranslation: Retranslation) -> Audio:
    """All samples of the clip. Raises NotAudioError.

    Its length is checked again here: when it was uploaded, only its declared duration was known.
    """
    with retranslation.clip.open("rb") as file:
        pieces = list(audio.decode(cast("BinaryIO", file), max_seconds=services.MAX_SECONDS))
    if not pieces:
        raise audio.NotAudioError("The clip contains no audio.")
    return audio.to_float(np.concatenate(pieces))


# ---- The transcript before


def _known_words(retranslation: Retranslation, span: Span) -> list[Word]:
    """The words of the transcript in the range and its context; none for a clip, which is not cut at its edges."""
    if retranslation.job is None or retranslation.clip:
        return []
    around = ranges.with_context(span, duration=span.end + ranges.CONTEXT_SECONDS)
    segments = retranslation.job.segments.filter(start__lt=around.end, end__gt=around.start)
    return [
        Word(**word)
        for segment in segments.order_by("start", "pk")
        if text_matches_words(segment)
        for word in segment.words
    ]


def _replaced_content(retranslation: Retranslation) -> dict[str, Any]:
    """The text and the speaker of the range in the transcript."""
    if retranslation.job is None:
        return {"old_text": "", "speaker": None}
    overlapping = _overlapping(retranslation.job, retranslation)
    return {
        "old_text": _old_text(retranslation, overlapping),
        "speaker": _speaker(retranslation, overlapping),
    }


def _overlapping(job: Job, retranslation: Retranslation) -> list[Segment]:
    return list(job.segments.filter(start__lt=retranslation.end, end__gt=retranslation.start))


def _old_text(retranslation: Retranslation, overlapping: list[Segment]) -> str:
    """The text of the segment that was requested, else the text in the range."""
    for segment in overlapping:
        if str(segment.pk) == retranslation.segment_id:
            return segment.text
    parts = [_text_inside(segment, retranslation) for segment in overlapping]
    return " ".join(part for part in parts if part)


def _text_inside(segment: Segment, retranslation: Retranslation) -> str:
    if retranslation.start <= segment.start and segment.end <= retranslation.end:
        return segment.text
    inside = [
        str(word["text"])
        for word in segment.words
        if retranslation.start <= (word["start"] + word["end"]) / 2 < retranslation.end
    ]
    return "".join(inside).strip()


def _speaker(retranslation: Retranslation, overlapping: list[Segment]) -> str | None:
    """The speaker of most of the range; None if no segment has one."""
    seconds: dict[str, float] = {}
    for segment in overlapping:
        if segment.speaker is not None:
            overlap = min(segment.end, retranslation.end) - max(segment.start, retranslation.start)
            seconds[segment.speaker] = seconds.get(segment.speaker, 0.0) + overlap
    return max(seconds, key=lambda speaker: seconds[speaker], default=None)
