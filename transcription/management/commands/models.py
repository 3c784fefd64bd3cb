"""`manage.py models`: see which speech models are here, fetch some, delete some."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from transcription.speech import catalogue, weights
from transcription.speech.engines.base import SpeechError


class Command(BaseCommand):
    help = "List, download or delete the weights of speech models."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="show every model and whether it is on this machine")
        for action in ("download", "delete"):
            subparser = actions.add_parser(action, help=f"{action} models by name")
            subparser.add_argument("names", nargs="+", metavar="NAME")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self._list()
            return
        act = self._download if options["action"] == "download" else self._delete
        try:
            # All names first, so that a typing error in the last does not cost a long download.
            for model in [catalogue.resolve(name) for name in options["names"]]:
                act(model)
        except (catalogue.UnknownModelError, SpeechError, OSError) as error:
            raise CommandError(str(error)) from error

    def _list(self) -> None:
        for model in weights.listing(
            engine=settings.TRANSCRIBER_ENGINE, models_dir=settings.TRANSCRIBER_MODELS_DIR
        ):
            self.stdout.write(
                f"{model.name:<17} {model.size_mb:>7.1f} MB  {model.source or '-':<9}  "
                f"{model.description}"
            )

    def _download(self, model: catalogue.ModelInfo) -> None:
        told = -1

        def tell(done: int, total: int) -> None:
            nonlocal told
            percent = 100 * done // total if total else 0
            if percent > told:
                told = percent
                self.stdout.write(f"{model.name}: {percent} %")

        found = weights.ensure_weights(
            model,
            engine=settings.TRANSCRIBER_ENGINE,
            models_dir=settings.TRANSCRIBER_MODELS_DIR,
            on_progress=tell,
        )
        self.stdout.write(
            self.style.SUCCESS(f"{model.name} is here ({found.source}): {found.path}")
        )

    def _delete(self, model: catalogue.ModelInfo) -> None:
        n_bytes = weights.delete_weights(model, models_dir=settings.TRANSCRIBER_MODELS_DIR)
        self.stdout.write(self.style.SUCCESS(f"Deleted {model.name}: {n_bytes / 1e6:.1f} MB."))
