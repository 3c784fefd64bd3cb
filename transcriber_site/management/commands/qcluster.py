import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Run a cluster: one worker with its queue processes. Start one cluster per worker."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", "-n", help="speech, or interactive (the default)")

    def handle(self, *args: Any, **options: Any) -> None:
        from django_q.conf import Conf

        main = settings.Q_CLUSTER["name"]
        names = [main, *settings.Q_CLUSTER["ALT_CLUSTERS"]]
        name = options["name"] or os.environ.get("Q_CLUSTER_NAME") or main
        if name not in names:
            raise CommandError(f"Unknown cluster {name!r}. Choose one of {', '.join(names)}.")
        if name != Conf.CLUSTER_NAME:
            # django_q has read its configuration from this variable on import: restart with it set.
            os.environ["Q_CLUSTER_NAME"] = name
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  without a shell

        from transcriber_site.cluster import run_cluster

        sys.exit(run_cluster())
