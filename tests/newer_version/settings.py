"""The settings of tests' services with the engine that waits, of a later version."""

from tests.waiting_settings import *  # noqa: F403

MIGRATION_MODULES = {"transcription": "tests.newer_version.later_migrations"}
INSTALLED_APPS = [*INSTALLED_APPS, "tests.newer_version.apps.NewerVersionConfig"]  # noqa: F405
