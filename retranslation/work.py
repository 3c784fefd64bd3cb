"""The work of a retranslation. What is done when is decided in `services`."""

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
from transcription.transcript.speaker_split import is_unedited

_logger = logging.getLogger(__name__)


def work_on_one(candidates: "QuerySet[Retranslation]") -> bool:
    """Transcribe the first of `candidates` that nobody works at. False when none is, or only others can."""
    retranslation = services.claim(candidates.exclude(model_name__in=_models_of_others(candidates)))
    if retranslation is None:
        return False
    with leases.keep_renewed(retranslation, condition=Q) as lease:
        try:
            _work_on(retranslation, lease)
        except LeaseLostError:
            _logger.info("Retranslation %s is not wanted any more.", retranslation.pk)
        except _ElsewhereError as error:
            _logger.error("Retranslation %s is left to others: %s", retranslation.pk, error)
            lease.release(reason=str(error))
            return False
        except (SpeechError, audio.NotAudioError) as error:
            _logger.error("Retranslation %s failed: %s", retranslation.pk, error)
            can_retry = isinstance(error, SpeechError) and error.can_retry
            _fail(retranslation, lease, str(error), can_retry=can_retry)
        except Exception as error:
            _logger.exception("Retranslation %s failed.", retranslation.pk)
            reason = f"Something unforeseen went wrong: {error!r}"
            _fail(retranslation, lease, reason, can_retry=True)
    return True


class _ElsewhereError(Exception):
    """The recording's samples may be where another worker sees them; says why."""


def _models_of_others(candidates: "QuerySet[Retranslation]") -> list[str]:
    names = candidates.order_by().values_list("model_name", flat=True).distinct()
    return [name for name in names if is_left_to_others(name, role=INTERACTIVE)]


def _fail(retranslation: Retranslation, lease: Lease, error: str, *, can_retry: bool) -> None:
    services.fail(lease=lease, retranslation=retranslation, error=error, can_retry=can_retry)


def _work_on(retranslation: Retranslation, lease: Lease) -> None:
    began = time.monotonic()

    def on_progress(done: int, total: int) -> None:
        lease.progress = 100 * done // total if total else 0
        lease.check()

    samples, origin, span = _audio(retranslation)
    engine = load_engine(model_name=retranslation.model_name, on_progress=on_progress)
    lease.check()
    heard = ranges.transcribe_range(
        engine,
        samples,
        origin=origin,
        span=span,
        language=retranslation.requested_language,
        known=_known(retranslation, span),
    )
    services.finish(
        lease=lease,
        retranslation=retranslation,
        text=heard.text,
        words=[asdict(word) for word in heard.words],
        confidence=heard.confidence,
        language=heard.language,
        model_used=retranslation.model_name,
        device=engine.device,
        **_what_was_there(retranslation),
    )
    _logger.info(
        "Retranslation %s: %.1f s of audio in %.2f s",
        retranslation.pk,
        span.duration,
        time.monotonic() - began,
    )


# ---- Audio


def _audio(retranslation: Retranslation) -> tuple[Audio, float, Span]:
    """The samples, when they begin, and what of them is meant; seconds of the recording."""
    if retranslation.clip:
        samples = _clip(retranslation)
        origin = retranslation.start
        return samples, origin, Span(origin, origin + len(samples) / SAMPLE_RATE)
    assert retranslation.job is not None, "what is no clip is a range of a recording"
    recording = retranslation.job.recording
    span = Span(retranslation.start, retranslation.end)
    if not has_samples(recording, span):
        if reason := reason_files_missing(recording):
            raise _ElsewhereError(reason)
        raise SpeechError("The recording's samples are gone.")
    read = ranges.with_context(span, duration=recording.duration or span.end)
    return read_samples(recording, read), read.start, span


def _clip(retranslation: Retranslation) -> Audio:
    """All of the clip. What it declares was looked at before; what it holds may be more."""
    pieces: list[audio.Pcm] = []
    n_samples = 0
    with retranslation.clip.open("rb") as file:
        for piece in audio.decode(cast("BinaryIO", file)):
            pieces.append(piece)
            n_samples += len(piece)
            if n_samples > services.MOST_SECONDS * SAMPLE_RATE:
                raise audio.NotAudioError(
                    f"The clip is longer than the {services.MOST_SECONDS:.0f} s that are allowed."
                )
    if not pieces:
        raise audio.NotAudioError("The clip holds no samples.")
    return audio.to_float(np.concatenate(pieces))


# ---- What was there before


def _known(retranslation: Retranslation, span: Span) -> list[Word]:
    """The words of the transcript in the range and around it; none for a clip, which begins and ends where it does."""
    if retranslation.job is None or retranslation.clip:
        return []
    around = ranges.with_context(span, duration=span.end + ranges.CONTEXT_SECONDS)
    found = retranslation.job.segments.filter(start__lt=around.end, end__gt=around.start)
    return [
        Word(**word)
        for segment in found.order_by("start", "pk")
        if is_unedited(segment)
        for word in segment.words
    ]


def _what_was_there(retranslation: Retranslation) -> dict[str, Any]:
    if retranslation.job is None:
        return {"old_text": "", "speaker": None}
    overlapping = _overlapping(retranslation.job, retranslation)
    return {
        "old_text": _old_text(retranslation, overlapping),
        "speaker": _speaker(retranslation, overlapping),
    }


def _overlapping(job: Job, retranslation: Retranslation) -> list[Segment]:
    found = job.segments.filter(start__lt=retranslation.end, end__gt=retranslation.start)
    return list(found)


def _old_text(retranslation: Retranslation, overlapping: list[Segment]) -> str:
    """The text of the segment that was named, or else all that was in the range."""
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
    """Who has most of the range; None where nobody is named."""
    seconds: dict[str, float] = {}
    for segment in overlapping:
        if segment.speaker is not None:
            shared = min(segment.end, retranslation.end) - max(segment.start, retranslation.start)
            seconds[segment.speaker] = seconds.get(segment.speaker, 0.0) + shared
    return max(seconds, key=lambda speaker: seconds[speaker], default=None)
