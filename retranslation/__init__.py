"""Transcribing a part of a recording again."""
