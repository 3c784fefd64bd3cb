"""Transcribing a range of a recording again, and accepting the result into the transcript."""
