"""Summaries of transcripts."""
