"""The present migrations of `transcription`, and one more."""

from transcription import migrations

__path__ = [*__path__, *migrations.__path__]
