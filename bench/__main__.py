"""`python -m bench [NAME …]`: run the benchmarks of BENCHMARKS, or those named, print and save results.

The results are saved in bench/results/.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import accounts, decoding, diarization, retranslation, scale, service, speech

RESULTS = Path(__file__).parent / "results"
EXTENSIONS = ("avx2", "avx512f", "avx512_vnni", "amx_bf16", "amx_int8")
"""What inference is fast or slow by, whatever the processor's name."""


def main(parts: list[str]) -> None:
    figures: dict[str, Any] = {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
    for name, (measure, print_table) in BENCHMARKS.items():
        if not parts or name in parts:
            figures[name] = measure()
            print_table(figures[name])
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{'-'.join(parts) or 'all'}.json"
    target.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"\n{figures['machine']}\nThe results are in {target.relative_to(Path.cwd())}.")


def machine() -> str:
    model = platform.processor() or platform.machine()
    extensions = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = dict(line.split("\t: ") for line in info.read_text().splitlines() if "\t: " in line)
        found = {name.strip(): value for name, value in found.items()}
        model = found.get("model name", model)
        flags = found.get("flags", "").split()
        known = [name for name in EXTENSIONS if name in flags]
        extensions = f" ({', '.join(known)})" if known else ""
    return (
        f"{os.cpu_count()} cores, {model}{extensions}, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def print_speech(rows: list[dict[str, Any]]) -> None:
    print(
        "\n| 619 s of read speech, tiny.en | seconds | × sequential | × openai | words lost | WER |"
    )
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['what']} | {row['seconds']} ({row['spread'][0]}–{row['spread'][1]}) "
            f"| {row['to_sequential']} | {row['to_openai']} | {row['words_lost']} | {row['wer']} % |"
        )


def print_service(rows: list[dict[str, Any]]) -> None:
    print("\n| the service | measured | limit |")
    print("|---|---|---|")
    for row in rows:
        limit = "" if row["limit"] is None else f"{row['limit']:g} {row['unit']}"
        print(f"| {row['what']} | {row['value']:g} {row['unit']} | {limit} |")


def print_diarization(figures: dict[str, Any]) -> None:
    print(
        "\n| ten clips, 300 s, one to four speakers | seconds | × defaults | real-time factor | DER |"
    )
    print("|---|---|---|---|---|")
    for row in figures["clips"]:
        print(
            f"| {row['what']} | {row['seconds']} ({row['spread'][0]}–{row['spread'][1]}) "
            f"| {row['to_defaults']} | {row['real_time_factor']} | {row['der']} % |"
        )
    names = (diarization.DEFAULTS, diarization.OURS)
    print(
        "\n| conversations of 5 minutes |"
        + "".join(f" {name}: found, confusion |" for name in names)
    )
    print("|---|---|---|")
    for row in figures["conversations"]:
        cells = [
            f" {', '.join(map(str, row[name]['found']))};"
            f" {', '.join(f'{share} %' for share in row[name]['confusion'])} |"
            for name in names
        ]
        print(f"| {row['speakers']} speakers |" + "".join(cells))
    row = figures["attribution"]
    print(f"\n{row['words']} words, {row['turns']} turns: attributed in {row['seconds']} s.")


BENCHMARKS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "speech": (speech.measure, print_speech),
    "decoding": (decoding.measure, print_service),
    "service": (service.measure, print_service),
    "retranslation": (retranslation.measure, print_service),
    "diarization": (diarization.measure, print_diarization),
    "scale": (scale.measure, print_service),
    "accounts": (accounts.measure, print_service),
}
"""Names to the functions that measure, and that print the result."""

if __name__ == "__main__":
    main(sys.argv[1:])
