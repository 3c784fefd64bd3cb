"""The signals of a recording that are stored and cut into chunks: all channels mixed, or one for each speaker."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from transcription.models import Job, Recording
from transcription.recordings import SamplesWriter
from transcription.speech import audio
from transcription.speech.audio import MANY_CHANNELS, MAX_SPEAKER_CHANNELS, NotAudioError
from transcription.speech.channels import SeparateVoices, Separator, TrackMixer
from transcription.speech.chunks import PlannedChunk, Planner
from transcription.speech.engines.base import Span
from transcription.speech.mixing import Channels, Mixer
from transcription.speech.voice_activity import VoiceActivity


class _Signal:
    """One channel's samples, mixed or a speaker's, as they are stored and cut into chunks."""

    def __init__(self, recording: Recording, channel: int | None = None) -> None:
        self._channel = channel
        self._writer = SamplesWriter(recording, channel)
        self._activity, self._planner = VoiceActivity(), Planner()

    @property
    def n_stored(self) -> int:
        return self._writer.n_stored

    def feed(self, samples: audio.Pcm) -> Iterator[PlannedChunk]:
        self._writer.write(samples)
        yield from self._planned(self._activity.feed(audio.to_float(samples)))

    def finish(self, duration: float) -> Iterator[PlannedChunk]:
        self._writer.flush()
        yield from self._planned(self._activity.finish())
        yield from self._numbered(self._planner.finish(duration))

    def _planned(self, speech: Iterable[Span]) -> Iterator[PlannedChunk]:
        for span in speech:
            yield from self._numbered(self._planner.add(span))

    def _numbered(self, chunks: Iterable[PlannedChunk]) -> Iterator[PlannedChunk]:
        return (replace(chunk, channel=self._channel) for chunk in chunks)


class MixedSignal:
    """All channels mixed to one, which is played, transcribed and diarized."""

    def __init__(self, job: Job, track_channels: Sequence[int]) -> None:
        self._signal = _Signal(job.recording)
        self._mixer, self._track_mixer = Mixer(sum(track_channels)), TrackMixer(track_channels)
        n_channels = self._track_mixer.n_channels
        is_examined = job.channels == Job.Channels.AUTO and n_channels <= MAX_SPEAKER_CHANNELS
        self._voices = SeparateVoices(n_channels) if is_examined else None

    @property
    def n_stored(self) -> int:
        return self._signal.n_stored

    @property
    def are_separate(self) -> bool:
        return self._voices is not None and self._voices.were_heard

    def feed(self, block: Channels) -> Iterator[PlannedChunk]:
        mixed = self._mixer.mix(block)
        voices = self._voices
        if voices is not None and voices.has_to_hear and not self._mixer.is_one_scene:
            voices.hear(self._track_mixer.mix(block))
        return self._signal.feed(mixed)

    def finish(self, duration: float) -> Iterator[PlannedChunk]:
        return self._signal.finish(duration)


class SpeakerSignals:
    """What each channel's speaker says, which is transcribed by itself; and all channels mixed, to be played.

    Raises NotAudioError if there are more than MAX_SPEAKER_CHANNELS.
    """

    are_separate = True

    def __init__(self, job: Job, track_channels: Sequence[int]) -> None:
        self._mixer, self._writer = Mixer(sum(track_channels)), SamplesWriter(job.recording)
        self._track_mixer = TrackMixer(track_channels)
        n_channels = self._track_mixer.n_channels
        if n_channels > MAX_SPEAKER_CHANNELS:
            raise NotAudioError(f"it has {n_channels} channels; {MANY_CHANNELS}")
        self._separator = Separator(n_channels)
        self._signals = [_Signal(job.recording, channel) for channel in range(n_channels)]

    @property
    def n_stored(self) -> int:
        return self._writer.n_stored

    def feed(self, block: Channels) -> Iterator[PlannedChunk]:
        self._writer.write(self._mixer.mix(block))
        separated = self._separator.separate(self._track_mixer.mix(block))
        for signal, samples in zip(self._signals, separated.T, strict=True):
            yield from signal.feed(samples)

    def finish(self, duration: float) -> Iterator[PlannedChunk]:
        self._writer.flush()
        for signal in self._signals:
            yield from signal.finish(duration)
