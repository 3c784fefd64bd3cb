"""How much work something is, whatever the processor: its CPU time against that of less of the same."""

import time
from collections.abc import Callable


def cpu_seconds(act: Callable[[], object], *, rounds: int = 3) -> float:
    """The least CPU time of this process that `act` takes in so many rounds: others may disturb some of them."""

    def measure() -> float:
        began = time.process_time()
        act()
        return time.process_time() - began

    return min(measure() for _ in range(rounds))
