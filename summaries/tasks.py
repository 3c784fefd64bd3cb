"""Queue tasks of summaries. A message only says "look": the rows say what to do."""

from summaries import threads


def work() -> None:
    threads.wake()
