"""The canary notices a place that forgets whose rows it reads; `make soak` tries all such places."""

import pytest

from tests.accounts import mutations

pytestmark = pytest.mark.slow
LISTS = "tests/accounts/test_canary.py::test_lists_hold_what_is_ones_own"


def test_a_list_that_forgets_whose_jobs_it_shows_is_noticed() -> None:
    [mutant] = [each for each in mutations.mutants() if each.path == "transcription/api.py"]
    with mutations.copied() as copy:
        assert mutations.is_noticed(mutant, copy, canary=[LISTS])
