import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Run a cluster: one worker and what feeds it. Start one for each worker wanted."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", "-n", help="speech, or interactive (the default)")

    def handle(self, *args: Any, **options: Any) -> None:
        from django_q.conf import Conf

        main = settings.Q_CLUSTER["name"]
        names = [main, *settings.Q_CLUSTER["ALT_CLUSTERS"]]
        name = options["name"] or os.environ.get("Q_CLUSTER_NAME") or main
        if name not in names:
            raise CommandError(f"There is no cluster {name!r}; there are {' and '.join(names)}.")
        if name != Conf.CLUSTER_NAME:
            # django_q read its configuration when Django was set up, from this variable: start
            # again with it.
            os.environ["Q_CLUSTER_NAME"] = name
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  no shell

        from transcriber_site.cluster import run_cluster

        sys.exit(run_cluster())
