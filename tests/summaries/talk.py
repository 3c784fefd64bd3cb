"""What is summarized here."""

from typing import Any

N_TURNS = 120


def segments(n: int = N_TURNS) -> list[dict[str, Any]]:
    """A talk of two; no two turns say the same."""
    return [
        {
            "start": 10.0 * index,
            "end": 10.0 * index + 9,
            "speaker": f"SPEAKER_{index % 2 + 1}",
            "text": f"Point {index} of the agenda is the plan for the harbour, which costs {index + 7} crowns and "
            f"takes until the year {2030 + index}, as the council has said many times before.",
        }
        for index in range(n)
    ]
