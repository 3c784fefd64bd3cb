"""Questions about a transcript, answered by a language model."""
