"""The settings with the engine that only waits, in processes whose clock is off by TEST_CLOCK_OFFSET seconds."""

import os
import time

import time_machine

from tests.waiting_settings import *  # noqa: F403

time_machine.travel(time.time() + float(os.environ["TEST_CLOCK_OFFSET"]), tick=True).start()
