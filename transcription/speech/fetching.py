"""Download weights: CTranslate2's from the model hub, openai-whisper's from the URLs in that package."""

import ast
import hashlib
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from http.client import HTTPResponse
from importlib.util import find_spec
from pathlib import Path

from transcription.speech.catalogue import Engine, ModelInfo
from transcription.speech.engines.base import SpeechError

OnBytes = Callable[[int, int], None]
"""A progress callback: bytes downloaded, bytes in total."""

_CT2_FILES = (
    "config.json",
    "preprocessor_config.json",
    "model.bin",
    "tokenizer.json",
    "vocabulary.*",
)
_POLL_SECONDS = 0.5
_TIMEOUT_SECONDS = 30.0
_BLOCK_BYTES = 1 << 20
_CACHE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Reachability:
    is_reachable: bool
    checked_at: float
    """By time.monotonic."""


_reachability: dict[str, _Reachability] = {}
"""The cache of `can_download`, by URL."""
_check_lock = threading.Lock()


def can_download(model: ModelInfo, *, engine: Engine, timeout: float = 3.0) -> bool:
    """Whether the server that `model` is downloaded from is reachable. Takes at most `timeout` seconds.

    The result is cached for 30 s. False if HF_HUB_OFFLINE is set.
    """
    if is_offline():
        return False
    try:
        url = _url_to_check(model, engine)
    except SpeechError:
        return False
    with _check_lock:
        cached = _reachability.get(url)
        if cached is None or time.monotonic() - cached.checked_at > _CACHE_SECONDS:
            _reachability[url] = _Reachability(is_reachable=False, checked_at=time.monotonic())
            # In a thread, because a DNS lookup has no timeout. A response that arrives after the
            # timeout still updates the cache.
            thread = threading.Thread(target=_check, args=(url, timeout), daemon=True)
            thread.start()
            thread.join(timeout)
        return _reachability[url].is_reachable


def is_offline() -> bool:
    value = os.getenv("HF_HUB_OFFLINE") or os.getenv("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "ON", "YES", "TRUE")


def report_percent(report: Callable[[int], None]) -> OnBytes:
    """Make a progress callback that calls `report` with the percentage each time it rises."""
    last_percent = -1

    def on_progress(done: int, total: int) -> None:
        nonlocal last_percent
        percent = 100 * done // total if total else 0
        if percent > last_percent:
            last_percent = percent
            report(percent)

    return on_progress


def fetch_from_hub(repo: str, *, folder: Path, on_progress: OnBytes | None) -> None:
    """Download CTranslate2 weights from the hub's `repo` into `folder`. Resumes an interrupted download.

    Raises SpeechError.
    """
    if is_offline():
        raise SpeechError("HF_HUB_OFFLINE is set")
    failure: list[Exception] = []
    sizes: dict[str, int] = {}

    def download() -> None:
        try:
            _download_files(repo, folder, sizes)
        except Exception as error:  # huggingface_hub passes on errors of several libraries
            failure.append(error)

    # In a thread, so that on_progress runs in the caller's thread, where it may use the database
    # connection or the terminal; a daemon, so that Ctrl-C ends it.
    thread = threading.Thread(target=download, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        if on_progress and sizes:
            total = sum(sizes.values())
            on_progress(min(_bytes_in(folder), total), total)
    if failure:
        raise SpeechError(_one_line(failure[0])) from failure[0]


def fetch_openai(name: str, *, folder: Path, on_progress: OnBytes | None) -> Path:
    """Download openai-whisper's checkpoint `name` into `folder` and check its SHA-256.

    Resumes an interrupted download. Raises SpeechError.
    """
    if is_offline():
        raise SpeechError("HF_HUB_OFFLINE is set")
    url = _openai_url(name)
    target = folder / f"{name}.pt"
    try:
        _download_file(url, target, on_progress)
    except OSError as error:
        raise SpeechError(_one_line(error)) from error
    # The URL contains the checksum: .../<sha256>/<name>.pt
    with target.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum != url.split("/")[-2]:
        target.unlink()
        raise SpeechError("the downloaded file is damaged (SHA-256 mismatch)")
    return target


def _check(url: str, timeout: float) -> None:
    """Send a HEAD request to `url`, and cache whether it is reachable."""
    try:
        with _open(url, method="HEAD", timeout=timeout):
            is_reachable = True
    except urllib.error.HTTPError as error:
        # A mirror that requires a token is reachable: huggingface_hub sends the token with the download.
        is_reachable = error.code == 401
    except (OSError, ValueError):
        is_reachable = False
    _reachability[url] = _Reachability(is_reachable, checked_at=time.monotonic())


def _url_to_check(model: ModelInfo, engine: Engine) -> str:
    if engine == "openai-whisper" and model.openai_name:
        return _openai_url(model.openai_name)
    if endpoint := os.getenv("HF_ENDPOINT"):
        return f"{endpoint.rstrip('/')}/api/models/{model.hub_repo}"
    if find_spec("huggingface_hub") is None:
        raise SpeechError("huggingface_hub is not installed")
    from huggingface_hub.constants import ENDPOINT

    return f"{ENDPOINT}/api/models/{model.hub_repo}"


def _openai_url(name: str) -> str:
    """The URL that openai-whisper downloads `name` from. Raises SpeechError.

    Parsed from the package's source, because importing it imports torch.
    """
    spec = find_spec("whisper")
    if spec is None or spec.origin is None:
        raise SpeechError("openai-whisper is not installed")
    for statement in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "_MODELS":
            urls: dict[str, str] = ast.literal_eval(statement.value)
            if name in urls:
                return urls[name]
    raise SpeechError(f"openai-whisper has no URL for '{name}'")


def _download_files(repo: str, folder: Path, sizes: dict[str, int]) -> None:
    """Download the files of `repo` that a model needs. Fills `sizes` (bytes, by name) first."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    info = HfApi().model_info(repo, files_metadata=True, timeout=_TIMEOUT_SECONDS)
    for file in info.siblings or ():
        if any(fnmatch(file.rfilename, pattern) for pattern in _CT2_FILES):
            sizes[file.rfilename] = file.size or 0
    for name in sorted(sizes):
        # With local_dir, huggingface_hub resumes from the partial files in `.cache`.
        hf_hub_download(repo, name, revision=info.sha, local_dir=folder)


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # renamed when its download finished
        if path.is_file():
            # Allocated blocks, not apparent size: the client may write the end of a file before its middle.
            total += min(status.st_size, status.st_blocks * 512)
    return total


def _download_file(url: str, target: Path, on_progress: OnBytes | None) -> None:
    done = target.stat().st_size if target.exists() else 0
    try:
        response = _open(url, first_byte=done, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if done and error.code == 416:
            return  # the file is complete
        raise
    with response, target.open("ab") as file:
        if done and response.status != 206:
            file.truncate(0)
            done = 0
        total = done + int(response.headers.get("Content-Length") or 0)
        while block := response.read(_BLOCK_BYTES):
            file.write(block)
            done += len(block)
            if on_progress:
                on_progress(done, total)
    if done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _open(url: str, *, method: str = "GET", first_byte: int = 0, timeout: float) -> HTTPResponse:
    """Request `url`, which comes from the environment or a package. Raises OSError, ValueError."""
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url} is not an HTTP URL")
    headers = {"Range": f"bytes={first_byte}-"} if first_byte else {}
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310
    response: HTTPResponse = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310
    return response


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
