"""What else can happen to a service on PostgreSQL and Redis: a job's transcript is that of an undisturbed run."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import servers
from tests.running_jobs import (
    CANCELLED_WITHIN_SECONDS,
    Row,
    Spoken,
    assert_not_done_again,
    attempts_of,
    chunks_when,
    completed,
    in_state,
    midway,
    patiently,
    seconds_to_cancel,
    spoken,
    undisturbed,
)
from tests.service import Service, wait_for
from tests.transcription.conftest import QUICK_RECOVERY
from tests.waiting_engine import RATE, SETTINGS, Gate

pytestmark = [pytest.mark.slow, pytest.mark.servers]

LEASE_SECONDS = 5
RECOVERED_WITHIN_SECONDS = 30.0
JOB_SECONDS = 14
"""How long the engine that only waits takes for ten minutes: longer than a lease, by two workers too."""

WAITING = {**SETTINGS, RATE: str(JOB_SECONDS / 600)}


# ---- PostgreSQL, Redis


@pytest.fixture
def postgres() -> Iterator[servers.Postgres]:
    with servers.Postgres() as running:
        yield running


@pytest.fixture
def redis() -> Iterator[servers.Redis]:
    with servers.Redis() as running:
        yield running


@pytest.fixture
def on_own_servers(
    tmp_path: Path, postgres: servers.Postgres, redis: servers.Redis
) -> Iterator[Service]:
    urls = {"DATABASE_URL": servers.create_database(postgres.url), "REDIS_URL": redis.url}
    with Service(tmp_path / "data", **urls, **QUICK_RECOVERY) as service:
        yield service


def test_when_postgresql_restarts_what_is_in_hand_is_committed_afterwards(
    on_own_servers: Service, postgres: servers.Postgres, clip: Path, undisturbed_clip: Spoken
) -> None:
    job_id = on_own_servers.upload(clip)
    before = midway(on_own_servers, job_id)
    heard = Listener(on_own_servers, job_id)
    postgres.stop(mode="immediate")
    answer = on_own_servers.client.get(f"/api/transcribe/status/{job_id}")
    assert answer.status_code == 503
    assert "database does not answer" in answer.json()["detail"]
    ready = on_own_servers.client.get("/health/ready")
    assert ready.status_code == 503
    assert "The database does not answer" in ready.json()["detail"]
    assert on_own_servers.client.get("/health").status_code == 200
    time.sleep(4.0)  # so that what was in hand is done by now
    postgres.start()
    assert spoken(completed(on_own_servers, job_id)) == undisturbed_clip
    assert_not_done_again(on_own_servers, job_id, before)
    assert set(attempts_of(on_own_servers, job_id).values()) == {1}
    assert heard.segments() == undisturbed_clip


def test_a_retranslation_in_hand_when_postgresql_restarts_is_committed_afterwards(
    tmp_path: Path, postgres: servers.Postgres, redis: servers.Redis, audio_dir: Path
) -> None:
    gate = Gate(tmp_path / "gate", limit=1)  # lets the job's chunk pass
    urls = {"DATABASE_URL": servers.create_database(postgres.url), "REDIS_URL": redis.url}
    with Service(tmp_path / "data", **urls, **QUICK_RECOVERY, **gate.environment) as service:
        job_id = service.upload(audio_dir / "jfk.flac")
        completed(service, job_id)
        body = {"segment_id": "a", "start_time": 1, "end_time": 9, "model_name": "tiny.en"}
        path = f"/api/retranslate/segment-from-full?job_id={job_id}"
        with ThreadPoolExecutor(1) as clients:
            waiting = clients.submit(service.client.post, path, json=body, timeout=120)
            wait_for(lambda: gate.n_begun() == 2, what="the start of the work")
            postgres.stop(mode="immediate")
            gate.open()
            time.sleep(2.0)  # so that it is done by now
            postgres.start()
            answer = waiting.result()
        assert answer.status_code == 200, answer.text
        counters = "SELECT state, attempts, failures FROM retranslation_retranslation"
        assert service.query(counters) == [("done", 1, 0)]


def test_when_redis_restarts_empty_the_rows_say_what_is_left_to_do(
    on_own_servers: Service, redis: servers.Redis, clip: Path, undisturbed_clip: Spoken
) -> None:
    under_way = on_own_servers.upload(clip)
    midway(on_own_servers, under_way)
    heard = Listener(on_own_servers, under_way)
    redis.stop()
    sent_meanwhile = on_own_servers.upload(clip)
    ready = on_own_servers.client.get("/health/ready")
    assert ready.status_code == 503
    assert "The queue does not answer" in ready.json()["detail"]
    redis.start()

    def is_taken_up() -> bool:
        [stage] = on_own_servers.debug(sent_meanwhile)["stages"]
        return bool(stage["state"] != "todo")

    patiently(is_taken_up, what="that it is recovered", seconds=RECOVERED_WITHIN_SECONDS)
    for job_id in (under_way, sent_meanwhile):
        assert spoken(completed(on_own_servers, job_id)) == undisturbed_clip
        assert set(attempts_of(on_own_servers, job_id).values()) == {1}
    assert heard.segments() == undisturbed_clip


class Listener:
    """Somebody who listens from now on, whatever happens to the service."""

    def __init__(self, service: Service, job_id: str) -> None:
        self._heard: list[Row] = []
        self._thread = threading.Thread(target=self._listen, args=(service, job_id), daemon=True)
        self._thread.start()

    def _listen(self, service: Service, job_id: str) -> None:
        self._heard.extend(message for message in service.listen(job_id) if "id" in message)

    def segments(self) -> Spoken:
        """What was heard by the time that the socket closed."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "the socket was never closed"
        return spoken({"segments": self._heard})


# ---- Several machines


@contextmanager
def machines(folder: Path, settings: dict[str, str], **roles: str) -> Iterator[dict[str, Service]]:
    """Services on machines of these names, with these roles, which share servers, a secret key and files."""
    with ExitStack() as running:
        postgres = running.enter_context(servers.Postgres())
        shared = {
            "DATABASE_URL": servers.create_database(postgres.url),
            "REDIS_URL": running.enter_context(servers.Redis()).url,
            "TRANSCRIBER_SECRET_KEY": "the same on all machines",
            "TRANSCRIBER_FILES_DIR": str(folder / "files"),
            "TRANSCRIBER_LEASE_SECONDS": str(LEASE_SECONDS),
            **QUICK_RECOVERY,
            **settings,
        }
        yield {
            name: running.enter_context(Service(folder / name, roles=role, machine=name, **shared))
            for name, role in roles.items()
        }


def test_a_machine_that_is_lost_costs_a_lease(tmp_path: Path, reading: Path) -> None:
    roles = {"front": "web,interactive,speech", "back": "speech"}
    with machines(tmp_path, WAITING, **roles) as found:
        front, back = found["front"], found["back"]
        job_id = front.upload(reading)

        def held_by_back(chunks: list[Row]) -> bool:
            return any(row["worker"].startswith("back:") for row in in_state(chunks, "doing"))

        chunks_when(front, job_id, held_by_back, what="that the other machine works")
        back.kill()
        assert spoken(completed(front, job_id)) == undisturbed(front, reading)
        attempts = attempts_of(front, job_id).values()
        assert 2 in attempts, "nothing was lost with it"
        assert max(attempts) == 2


@pytest.mark.alone
def test_two_machines_share_a_job_and_a_cancelled_chunk_stops_on_another_one(
    tmp_path: Path, clip: Path, reading: Path, undisturbed_clip: Spoken
) -> None:
    with machines(tmp_path, {}, front="web,interactive", back="speech") as found:
        front, back = found["front"], found["back"]
        job_id = front.upload(clip)
        assert spoken(completed(front, job_id)) == undisturbed_clip
        workers = {row["worker"].partition(":")[0] for row in front.debug(job_id)["chunks"]}
        assert workers == {"back"}
        ready = front.client.get("/health/ready")
        assert ready.status_code == 200, ready.text
        assert {(one["machine"], one["role"]) for one in ready.json()["seen"]} == {
            ("front", "interactive"),
            ("back", "speech"),
        }

        took: list[float] = []  # what else runs on the machine can only delay it
        while len(took) < 3 and min(took, default=99.0) >= CANCELLED_WITHIN_SECONDS:
            took.append(seconds_to_cancel(front, front.upload(reading), workers=back))
        assert min(took) < CANCELLED_WITHIN_SECONDS, took


@pytest.mark.parametrize("offset", ["60", "-60"])
def test_a_worker_whose_clock_is_a_minute_off_takes_part_like_any_other(
    tmp_path: Path, reading: Path, offset: str
) -> None:
    """Leases last five seconds: if anybody went by its own clock, each would take the other's chunks."""
    roles = {"front": "web,interactive,speech"}
    with machines(tmp_path, WAITING, **roles) as found, ExitStack() as running:
        front = found["front"]
        settings = {
            **front.settings,
            "DJANGO_SETTINGS_MODULE": "tests.other_clock_settings",
            "TEST_CLOCK_OFFSET": offset,
        }
        running.enter_context(Service(tmp_path / "off", roles="speech", machine="off", **settings))
        wait_for(
            lambda: "off" in {one["machine"] for one in ready_of(front)["seen"]},
            what="that the other machine is there",
        )
        job_id = front.upload(reading)
        assert spoken(completed(front, job_id)) == undisturbed(front, reading)
        chunks = front.debug(job_id)["chunks"]
        assert {row["worker"].partition(":")[0] for row in chunks} == {"front", "off"}
        assert {row["attempts"] for row in chunks} == {1}


def ready_of(service: Service) -> Row:
    found: Row = service.client.get("/health/ready").json()
    return found


def test_a_machine_that_does_not_share_the_files_is_told_and_does_no_harm(
    tmp_path: Path, clip: Path
) -> None:
    """It neither reads uploads nor transcribes: both are left to a machine that sees the files."""
    work = "interactive,speech"
    with machines(tmp_path, WAITING, front="web") as found:
        front = found["front"]
        settings = {**front.settings, "TRANSCRIBER_FILES_DIR": str(tmp_path / "other files")}
        with Service(tmp_path / "stray", roles=work, machine="stray", **settings):
            job_id = front.upload(clip)
            wait_for(
                lambda: "stray does not find the recording" in front.status(job_id)["message"],
                what="that it is told",
            )
            assert "Workers on stray have other files" in ready_of(front)["detail"]
            back = Service(tmp_path / "back", roles=work, machine="back", **front.settings)
            with back:
                assert spoken(completed(front, job_id)) == undisturbed(front, clip)
                assert ready_of(front)["status"] == "ready"
