"""Benchmark of the decoder process: what it costs beside FFmpeg in the service's own process."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from bench.contenders import ROOT
from bench.service import row
from bench.speech import READING

SHORT = ROOT / "tests" / "audio" / "jfk.flac"
ROUNDS, STARTS = 21, 7
START_SECONDS = 2.0
"""How long after its start a service gets its first file."""
FIRST_PROBE = f"""
import time
from pathlib import Path
from transcription.speech import audio
from transcription.speech.media import decoder_process
decoder_process.start_spawner()
time.sleep({START_SECONDS})
began = time.perf_counter()
audio.probe(Path({str(SHORT)!r}))
print(time.perf_counter() - began)
"""


def measure() -> list[dict[str, Any]]:
    from transcription.speech import audio
    from transcription.speech.media import ffmpeg

    def in_this_process() -> None:
        with READING.open("rb") as file:
            consume(block.tobytes() for block in ffmpeg.decode(file, max_seconds=audio.MAX_SECONDS))

    def in_the_decoder() -> None:
        consume(audio.decode_channels(READING))

    audio.probe(SHORT)  # starts what decoders are forked from
    here, there, probes = [], [], []
    for _ in range(ROUNDS):
        here.append(seconds_of(in_this_process))
        there.append(seconds_of(in_the_decoder))
        probes.append(seconds_of(lambda: audio.probe(SHORT)))
    ratio = median(one / other for one, other in zip(there, here, strict=True))
    return [
        row("ten minutes of FLAC decoded in this process, median", median(here), "s", None),
        row("the same in a decoder process", median(there), "s", None),
        row("decoder process / this process, median of pairs", ratio, "×", 1.03),
        row("probe of a short upload", 1000 * median(probes), "ms", None),
        row(
            f"the first one of a service, {START_SECONDS:g} s after its start",
            1000 * median(first_probe() for _ in range(STARTS)),
            "ms",
            150.0,
        ),
    ]


def first_probe() -> float:
    command = [sys.executable, "-c", FIRST_PROBE]
    return float(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def consume(blocks: Iterable[object]) -> None:
    for _ in blocks:
        pass


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
