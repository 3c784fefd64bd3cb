from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from transcriber_site.backup.making import Made, make_backup
from transcriber_site.backup.manifest import BackupError, find_backup, read_manifest, verify

MAX_SHOWN = 20


class Command(BaseCommand):
    help = "Back up the database, the recordings and the settings without secrets, while the service runs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "directory", type=Path, help="a folder for backups; each is a folder in it"
        )
        action = parser.add_mutually_exclusive_group()
        action.add_argument(
            "--incremental",
            action="store_true",
            help="copy only what is new since the last backup there; the rest is linked to it",
        )
        action.add_argument(
            "--verify",
            action="store_true",
            help="make none, but check the last one there, or the one that the folder is, by its checksums",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["verify"]:
                self._verify(options["directory"])
            else:
                self._report(make_backup(options["directory"], incremental=options["incremental"]))
        except BackupError as error:
            raise CommandError(str(error)) from error

    def _verify(self, directory: Path) -> None:
        folder = find_backup(directory)
        manifest = read_manifest(folder)
        problems = list(verify(folder, manifest))
        if problems:
            shown = "\n".join(problems[:MAX_SHOWN])
            more = f"\nand {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
            raise CommandError(
                f"{folder} is damaged. Make a new one without --incremental.\n{shown}{more}"
            )
        self.stdout.write(
            f"{folder} is whole: {len(manifest.files)} files, {manifest.n_bytes() / 1e6:.1f} MB."
        )

    def _report(self, made: Made) -> None:
        copied = made.copied
        self.stdout.write(
            f"Backed up to {made.folder}: database, {copied.n_copied} files copied "
            f"({copied.bytes_copied / 1e6:.1f} MB), {copied.n_linked} unchanged since the last backup."
        )
        if copied.is_without_links:
            self.stderr.write(
                f"The disk of {made.folder} has no hard links, so unchanged files were copied too."
            )
        for name in made.manifest.missing[:MAX_SHOWN]:
            self.stderr.write(f"Not in the backup, because it is lost: {name}")
        self.stdout.write(
            "The secret key and other secrets are not in it. Without the secret key people sign in again after a "
            "restore; nothing else is lost."
        )
