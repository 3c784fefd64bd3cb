"""Inference as a library: arrays and settings in, dataclasses out. Nothing here imports Django."""
