"""A later version of the service: one more migration of `transcription`, which its code knows and the present does not.

Used by processes that have `DJANGO_SETTINGS_MODULE=tests.newer_version.settings`.
"""
