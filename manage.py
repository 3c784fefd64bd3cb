#!/usr/bin/env python
"""Django's command line for the transcription service."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcriber_site.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        import transcriber_site.settings  # noqa: F401  an invalid setting exits with one line, not a traceback
    except ImproperlyConfigured as error:
        sys.exit(f"Wrong setting: {error}")
    import transcription.access

    transcription.access.become_service()  # commands serve no requests
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
