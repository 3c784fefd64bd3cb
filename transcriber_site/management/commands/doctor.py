import sys
import textwrap
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from transcriber_site import __version__, doctor

WIDTH = 100


class Command(BaseCommand):
    help = "Say on one page what is wrong with this installation and what to do; exit with 1 if anything is."
    requires_system_checks = ()  # they are among the findings

    def handle(self, *args: Any, **options: Any) -> None:
        findings = doctor.examine()
        self.stdout.write(f"Transcriber {__version__}, data in {settings.TRANSCRIBER_DATA_DIR}\n\n")
        for finding in findings:
            self._write(finding)
        n_problems = sum(finding.level is doctor.Level.PROBLEM for finding in findings)
        self.stdout.write("")
        if n_problems:
            self.stdout.write(f"{n_problems} problems. Each has what to do below it.")
            sys.exit(1)
        self.stdout.write("No problems.")

    def _write(self, finding: doctor.Finding) -> None:
        head = f"{finding.level.value:8} {finding.topic:12} "
        indent = " " * len(head)
        lines = textwrap.wrap(finding.text, WIDTH - len(head), break_long_words=False)
        if finding.remedy:
            lines += textwrap.wrap(
                f"→ {finding.remedy}",
                WIDTH - len(head),
                break_long_words=False,
                break_on_hyphens=False,
            )
        self.stdout.write(head + f"\n{indent}".join(lines))
