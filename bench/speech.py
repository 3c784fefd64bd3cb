"""Speed and completeness of transcription: every contender on the same file, in turn, several times."""

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
    """Rows with median seconds, ratios to the two known implementations, words lost and WER (%)."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    texts: dict[str, str] = {}
    for turn in range(rounds):
        for name in CONTENDERS:
            if turn and name == REFERENCE:
                continue  # by far the slowest: once is enough to compare with
            answer = run(name, READING)
            seconds[name].append(answer["seconds"])
            texts[name] = answer["text"]
    reference, sequential = median(seconds[REFERENCE]), median(seconds[SEQUENTIAL])
    rows = []
    for name in CONTENDERS:
        middle = median(seconds[name])
        rows.append(
            {
                "what": name,
                "seconds": round(middle, 2),
                "spread": [round(min(seconds[name]), 2), round(max(seconds[name]), 2)],
                "to_sequential": round(middle / sequential, 3),
                "to_openai": round(middle / reference, 3),
                **compare(texts[REFERENCE], texts[name]),
            }
        )
    return rows


def run(name: str, file: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.contenders", name, str(file)]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer


def compare(reference: str, hypothesis: str) -> dict[str, Any]:
    """Words lost (deletions) and word error rate in per cent, after Whisper's own normalization."""
    from whisper.normalizers import EnglishTextNormalizer

    normalize = EnglishTextNormalizer()
    output = jiwer.process_words(normalize(reference), normalize(hypothesis))
    return {"words_lost": output.deletions, "wer": round(100 * output.wer, 2)}
