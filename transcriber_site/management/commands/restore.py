from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from transcriber_site.backup.manifest import BackupError
from transcriber_site.backup.restoring import restore_backup


class Command(BaseCommand):
    help = "Restore a backup into an empty installation; any other is refused and left as it is."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "directory", type=Path, help="a backup, or a folder of backups: then the last one"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            folder, manifest = restore_backup(options["directory"])
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Restored {folder}, made at {manifest.created_at} by version {manifest.version}."
        )
        if manifest.deleted:
            self.stdout.write(
                f"{len(manifest.deleted)} recordings were deleted while it was made, and are not there."
            )
        self.stdout.write(
            f"Its settings are in {folder / 'settings.env'}; passwords and keys are not in a backup: set them again. "
            "The secret key is a new one unless TRANSCRIBER_SECRET_KEY is set: people sign in again, and nothing else "
            "is lost. Start the service: manage.py serve"
        )
