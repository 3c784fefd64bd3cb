"""The queue of the tests' own process, whatever it is kept in."""

from django_q.brokers import get_broker

from transcription.leasing import wakeups

QUEUES = (wakeups.SPEECH, wakeups.INTERACTIVE)


def n_messages() -> int:
    """Those that no worker has fetched yet, for whomever they are."""
    return sum(wakeups.n_waiting(name) for name in QUEUES)


def lose_messages() -> None:
    for name in QUEUES:
        get_broker(name).delete_queue()
