"""What FFmpeg takes for audio by chance is no recording."""

import io

import pytest

from transcription.speech import audio

BY_CHANCE = {
    "brackets of a deep JSON document": b"[" * 200_000 + b"]" * 200_000,
    "rules of a text": b"-" * 100_000 + b"=" * 100_000,
    "quoted lines": b"> " * 100_000 + b"| " * 100_000,
}


@pytest.mark.parametrize("name", BY_CHANCE)
def test_a_document_is_not_taken_for_audio_of_a_game(name: str) -> None:
    with pytest.raises(audio.NotAudioError, match="not audio or video in any known format"):
        audio.probe(io.BytesIO(BY_CHANCE[name]))
