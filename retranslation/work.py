"""The work of a retranslation: load the audio, transcribe the range, commit. `services` decides what comes next."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, BinaryIO, cast

import numpy as np
from django.core.files.storage import default_storage
from django.db.models import QuerySet

from retranslation import plan_changes, proposals, services
from retranslation.models import Retranslation
from transcription.jobs.installed_models import is_left_to_others, load_engine
from transcription.leasing import work as leased_work
from transcription.leasing.leases import Lease
from transcription.leasing.outages import is_disk_full, wait_out
from transcription.leasing.registry import INTERACTIVE
from transcription.leasing.work import Outcome, reason_files_missing
from transcription.models import Segment
from transcription.recordings import has_samples, is_stored, read_samples
from transcription.speech import audio, ranges
from transcription.speech.engines.base import (
    SAMPLE_RATE,
    Audio,
    OnProgress,
    Span,
    SpeechError,
    Word,
)
from transcription.transcript.speaker_split import text_matches_words, text_of

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Source:
    """Audio to transcribe; times are seconds from the start of the recording."""

    channel: int | None
    """The speaker's, if channels are speakers."""
    samples: Audio
    origin: float
    """Where the samples start."""
    span: Span
    """What is wanted of them."""


def transcribe_next(
    candidates: "QuerySet[Retranslation]", *, wake: Callable[[], None]
) -> Outcome | None:
    """Transcribe the first claimable candidate, or save why it failed. None if this worker can do none.

    `wake` wakes a worker for such candidates.
    """
    left_to_others = _models_left_to_others(candidates)
    retranslation = services.claim(candidates.exclude(model_name__in=left_to_others))
    if retranslation is None:
        return None
    return leased_work.run(
        retranslation,
        lambda lease: _transcribe(retranslation, lease),
        name=f"Retranslation {retranslation.pk}",
        wake=wake,
        on_failure=lambda lease, error: _fail(retranslation, lease, error),
        reason_files_missing=lambda: _reason_files_missing(retranslation),
    )


def _models_left_to_others(candidates: "QuerySet[Retranslation]") -> list[str]:
    names = candidates.order_by().values_list("model_name", flat=True).distinct()
    return [name for name in names if is_left_to_others(name, role=INTERACTIVE)]


def _reason_files_missing(retranslation: Retranslation) -> str | None:
    if retranslation.clip:
        is_here = default_storage.exists(retranslation.clip.name or "")
        return reason_files_missing(is_here=is_here, what="the clip")
    assert retranslation.job is not None, "a retranslation without a clip has a job"
    is_here = is_stored(retranslation.job.recording)
    return reason_files_missing(is_here=is_here, what="the recording")


def _fail(retranslation: Retranslation, lease: Lease, error: Exception) -> None:
    if isinstance(error, SpeechError | audio.NotAudioError):
        _logger.error("Retranslation %s failed: %s", retranslation.pk, error)
        reason, can_retry = str(error), isinstance(error, SpeechError) and error.can_retry
    elif isinstance(error, FileNotFoundError):
        _logger.error("Retranslation %s failed: %s", retranslation.pk, error)
        reason, can_retry = "The recording's audio was deleted or has expired.", False
    else:
        _logger.error("Retranslation %s failed.", retranslation.pk, exc_info=error)
        reason, can_retry = f"Unexpected error: {error!r}", True
    services.fail(lease=lease, retranslation=retranslation, error=reason, can_retry=can_retry)


def _transcribe(retranslation: Retranslation, lease: Lease) -> None:
    started_at = time.monotonic()

    def on_download(done: int, total: int) -> None:
        on_progress(done / total if total else 0.0)

    def on_progress(fraction: float) -> None:
        lease.progress = int(100 * fraction)
        lease.check()

    sources = _load_audio(retranslation)
    engine = load_engine(model_name=retranslation.model_name, on_progress=on_download)
    texts = []
    for index, source in enumerate(sources):
        on_progress(index / len(sources))
        text = ranges.transcribe_range(
            engine,
            source.samples,
            origin=source.origin,
            span=source.span,
            language=retranslation.requested_language,
            reference_words=_known_words(retranslation, source),
            on_progress=_part_of(on_progress, index, len(sources)),
        )
        texts.append(text)
    replaced = wait_out(lambda: _replaced_content(retranslation), unless=is_disk_full)
    services.finish(
        lease=lease,
        retranslation=retranslation,
        **_joined(sources, texts),
        model_used=retranslation.model_name,
        device=engine.device,
        **replaced,
    )
    _logger.info(
        "Retranslation %s: %.1f s of audio in %.2f s",
        retranslation.pk,
        sources[0].span.duration,
        time.monotonic() - started_at,
    )


def _part_of(on_progress: OnProgress, index: int, n_parts: int) -> OnProgress:
    """What reports the progress of one part of several alike."""
    return lambda fraction: on_progress((index + fraction) / n_parts)


def _joined(sources: Sequence[_Source], texts: Sequence[ranges.RangeText]) -> dict[str, Any]:
    """The columns of the result: the channels' phrases in order of time."""
    phrases: list[list[dict[str, Any]]] = []
    for source, text in zip(sources, texts, strict=True):
        channel = {} if source.channel is None else {proposals.CHANNEL: source.channel}
        words = [{**asdict(word), **channel} for word in text.words]
        if len(sources) == 1:
            phrases += [words] if words else []
        elif words:
            phrases += plan_changes.split_at_pauses(words)
    phrases.sort(key=lambda phrase: float(phrase[0]["start"]))
    words = [word for phrase in phrases for word in phrase]
    return {
        "text": " ".join(text_of(phrase) for phrase in phrases),
        "words": words,
        "confidence": fmean(word["probability"] for word in words) if words else None,
        "language": next((text.language for text in texts if text.language), ""),
    }


# ---- Audio


def _load_audio(retranslation: Retranslation) -> list[_Source]:
    """The audio of the range, of each channel if those are speakers and all are asked for.

    Raises NotAudioError, and FileNotFoundError if they are not there.
    """
    if retranslation.clip:
        samples = _decode_clip(retranslation)
        origin = retranslation.start
        span = Span(origin, origin + len(samples) / SAMPLE_RATE)
        return [_Source(retranslation.channel, samples, origin, span)]
    assert retranslation.job is not None, "a retranslation without a clip has a job"
    recording = retranslation.job.recording
    span = Span(retranslation.start, retranslation.end)
    channels = proposals.channels_of(retranslation)
    if not all(has_samples(recording, span, channel) for channel in channels):
        raise FileNotFoundError("The recording's samples are missing.")
    read = ranges.with_context(span, duration=recording.duration or span.end)
    return [
        _Source(channel, read_samples(recording, read, channel), read.start, span)
        for channel in channels
    ]


def _decode_clip(retranslation: Retranslation) -> Audio:
    """All samples of the clip. Raises NotAudioError, FileNotFoundError.

    Its length is checked again here: when it was uploaded, only its declared duration was known.
    """
    with retranslation.clip.open("rb") as file:
        pieces = list(audio.decode(cast("BinaryIO", file), max_seconds=services.MAX_SECONDS))
    if not pieces:
        raise audio.NotAudioError("The clip contains no audio.")
    return audio.to_float(np.concatenate(pieces))


# ---- The transcript before


def _known_words(retranslation: Retranslation, source: _Source) -> list[Word]:
    """The words of the transcript in the range and its context; none for a clip, which is not cut at its edges."""
    if retranslation.job is None or retranslation.clip:
        return []
    end = source.span.end + ranges.CONTEXT_SECONDS
    around = ranges.with_context(source.span, duration=end)
    segments = retranslation.job.segments.filter(start__lt=around.end, end__gt=around.start)
    if source.channel is not None:
        segments = segments.filter(chunk__channel=source.channel)
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
    overlapping = list(proposals.overlapping_segments(retranslation.job, retranslation))
    return {
        "old_text": _old_text(retranslation, overlapping),
        "speaker": _speaker(retranslation, overlapping),
    }


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
