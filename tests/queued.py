"""The queue of the tests' own process, whatever it is kept in."""

from django_q.brokers import get_broker

from transcription.leasing import registry, wakeups

QUEUES = (registry.SPEECH, registry.INTERACTIVE)


def n_messages() -> int:
    """Those that no worker has fetched yet, for whomever they are."""
    return sum(wakeups.queue_length(name) for name in QUEUES)


def lose_messages() -> None:
    for name in QUEUES:
        get_broker(name).delete_queue()
