"""Probe in a child process whether this processor can run senko's native library.

senko's wheels contain a native library, `libfbank_extractor`, which computes features on the CPU. Version 0.2.2 for
Linux is compiled with AVX-512 instructions and does not check for them: on a processor without AVX-512, the first call
kills the process with SIGILL, which no `except` can catch.

Imports no heavy library, because the web process probes too.
"""

import ctypes
import math
import resource
import signal
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from transcription.speech.engines.base import SAMPLE_RATE, ModelUnavailableError, SpeechError

COMMAND = (sys.executable, "-m", "transcription.speech.diarization.senko_probe")
TIMEOUT_SECONDS = 60.0

_ROOT = Path(__file__).parents[3]
_FRAMES, _MEL_BANDS = 98, 80
"""The shape of the features of one second: a frame of 25 ms every 10 ms."""


def check_processor(device: str) -> None:
    """Check that senko can run on this processor. The result is cached per process.

    Raises ModelUnavailableError if it cannot, SpeechError with `can_retry` if the probe itself fails.
    """
    if failure := _failure(COMMAND, device):
        raise ModelUnavailableError(
            f"{failure}. Set TRANSCRIBER_DIARIZATION_ENGINE=pyannote, which runs on every processor."
        )


@cache
def _failure(command: tuple[str, ...], device: str) -> str:
    """The reason why senko cannot run here; empty if it can. Exceptions are not cached."""
    try:
        completed = subprocess.run(
            [*command, device],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SpeechError(
            f"The check whether this processor can run senko failed: {error}.", can_retry=True
        ) from error
    if completed.returncode == -signal.SIGILL:
        return "This processor cannot run senko (the probe ended with SIGILL)"
    if completed.returncode < 0:
        name = signal.Signals(-completed.returncode).name
        return f"senko cannot run on this machine (the probe ended with {name})"
    if completed.returncode > 0:
        lines = completed.stderr.strip().splitlines() or [f"exit status {completed.returncode}"]
        return f"senko cannot run on this machine (the probe failed: {lines[-1][:300]})"
    return ""


# ---- In the child process


class _Features(ctypes.Structure):
    """The return type of the library, as in senko's `Diarizer`."""

    _fields_ = [
        ("data", ctypes.POINTER(ctypes.c_float)),
        ("frames_per_subsegment", ctypes.POINTER(ctypes.c_size_t)),
        ("subsegment_offsets", ctypes.POINTER(ctypes.c_size_t)),
        ("num_subsegments", ctypes.c_size_t),
        ("total_frames", ctypes.c_size_t),
        ("feature_dim", ctypes.c_size_t),
    ]


def _main(device: str) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core dump: a crash is an expected result
    if not _computes_features_on_gpu(device):
        _extract_features(_find_library())


def _computes_features_on_gpu(device: str) -> bool:
    """Whether senko uses kaldifeat instead of its library: if that is installed and there is a GPU."""
    if device == "cpu" or find_spec("kaldifeat") is None:
        return False
    import torch

    import_module("kaldifeat")  # untyped, and rarely installed
    return torch.cuda.is_available()


def _find_library() -> Path:
    package = find_spec("senko")
    if package is None or package.origin is None:
        raise FileNotFoundError("senko is not installed")
    folder = Path(package.origin).parent
    for location in (folder, folder.parent / "build"):  # where an editable installation builds it
        for path in sorted(location.glob("libfbank_extractor.*")):
            return path
    raise FileNotFoundError(f"{folder} has no libfbank_extractor")


def _extract_features(path: Path) -> None:
    """Compute the features of a second of a 440 Hz tone. Raises ValueError if they are not finite numbers."""
    library = ctypes.CDLL(str(path))
    library.create_fbank_extractor.restype = ctypes.c_void_p
    extract = library.extract_fbank_features_from_memory
    samples_type, span_type = ctypes.c_float * SAMPLE_RATE, ctypes.c_float * 2
    extract.argtypes = [
        ctypes.c_void_p,
        *(samples_type, ctypes.c_size_t),
        *(span_type, ctypes.c_size_t),
    ]
    extract.restype = _Features
    tone = (0.5 * math.sin(2 * math.pi * 440 * n / SAMPLE_RATE) for n in range(SAMPLE_RATE))
    features = extract(
        library.create_fbank_extractor(), samples_type(*tone), SAMPLE_RATE, span_type(0, 1), 1
    )
    n_values = features.total_frames * features.feature_dim
    if n_values != _FRAMES * _MEL_BANDS or not all(map(math.isfinite, features.data[:n_values])):
        raise ValueError(f"{n_values} features of one second, or some that are not finite")


if __name__ == "__main__":
    _main(*sys.argv[1:])
