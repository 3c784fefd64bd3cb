"""Benchmark of transcription: speed and word errors of each contender on the same file, run alternately."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import jiwer

from bench.contenders import CONTENDERS, ROOT

READING = ROOT / "tests" / "audio" / "reading-10min.flac"
REFERENCE = "openai-whisper, beam 5, fp32"
SEQUENTIAL = "faster-whisper, sequential, beam 5, int8"
ROUNDS = 3


def measure(*, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Rows with median seconds, ratios to faster-whisper and openai-whisper, words lost and WER (%)."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    texts: dict[str, str] = {}
    for n_round in range(rounds):
        for name in CONTENDERS:
            if n_round and name == REFERENCE:
                continue  # by far the slowest, so only once
            result = run(name, READING)
            seconds[name].append(result["seconds"])
            texts[name] = result["text"]
    reference, sequential = median(seconds[REFERENCE]), median(seconds[SEQUENTIAL])
    rows = []
    for name in CONTENDERS:
        median_seconds = median(seconds[name])
        rows.append(
            {
                "what": name,
                "seconds": round(median_seconds, 2),
                "spread": [round(min(seconds[name]), 2), round(max(seconds[name]), 2)],
                "to_sequential": round(median_seconds / sequential, 3),
                "to_openai": round(median_seconds / reference, 3),
                **compare(texts[REFERENCE], texts[name]),
            }
        )
    return rows


def run(name: str, file: Path) -> dict[str, Any]:
    """Run one contender on `file`, in its own process."""
    command = [sys.executable, "-m", "bench.contenders", name, str(file)]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def compare(reference: str, hypothesis: str) -> dict[str, Any]:
    """Words lost (deletions) and word error rate in per cent, after Whisper's text normalization."""
    from whisper.normalizers import EnglishTextNormalizer

    normalize = EnglishTextNormalizer()
    output = jiwer.process_words(normalize(reference), normalize(hypothesis))
    return {"words_lost": output.deletions, "wer": round(100 * output.wer, 2)}
