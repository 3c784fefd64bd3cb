"""No file harms the service: it is refused with a reason or its job ends, soon, and at little cost to memory."""

import io
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests import waiting_engine
from tests.hostile import damage, hostile_files, playlists
from tests.hostile.base import HostileFile
from tests.media import samples_of
from tests.service import Service
from transcription.speech import audio
from transcription.speech.media import limits

pytestmark = pytest.mark.slow

MAX_GROWTH = 250 * 1024**2
MAX_SECONDS = 60
LOOK_SECONDS = 0.05
N_FLIPPED = 2_000
N_SENT = 100
"""Of the damaged files, so many are sent to a service; all are decoded."""
FLIPPED_SECONDS = 2.0


class Memory:
    """Looks again and again at the memory of a service's processes, those included that live for one file."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.first: dict[psutil.Process, int] = {}
        self.most: dict[psutil.Process, int] = {}

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            for process in self._service.processes():
                with suppress(psutil.NoSuchProcess):  # it has ended since
                    self._look_at(process)

    def _look_at(self, process: psutil.Process) -> None:
        resident = process.memory_info().rss
        parent = process.parent()
        if parent in self.first and "transcription.speech.media.decoder" in process.cmdline():
            # It had what the process has that it was forked from, and may have grown since.
            self.first.setdefault(process, self.first[parent])
        self.first.setdefault(process, resident)
        self.most[process] = max(self.most.get(process, 0), resident)

    def growth(self) -> int:
        """The most bytes by which any process has grown since it was first seen."""
        assert self._thread.is_alive(), "nobody looks"
        return max((self.most[one] - first for one, first in self.first.items()), default=0)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose engine needs no time: what a file costs is what reading it costs."""
    settings = {**waiting_engine.SETTINGS, waiting_engine.RATE: "0"}
    with Service(tmp_path_factory.mktemp("attacked") / "data", **settings) as running:
        yield running


@pytest.fixture(scope="module")
def memory(attacked: Service, audio_dir: Path) -> Iterator[Memory]:
    attacked.transcribe(audio_dir / "jfk.flac")  # so that all that is loaded at first use is
    with Memory(attacked) as memory:
        yield memory


def upload(service: Service, path: Path) -> httpx.Response:
    with path.open("rb") as file:
        return service.client.post(
            "/api/transcribe/",
            data={"model_name": "tiny.en", "diarize": "false"},
            files={"file": (path.name, file, "application/octet-stream")},
        )


def assert_harmless(service: Service, path: Path) -> str:
    """Upload a file and wait for the end of its job, if it becomes one. Returns what came of it."""
    began = time.monotonic()
    answer = upload(service, path)
    if answer.status_code == 200:
        job_id = answer.json()["job_id"]
        status = service.finished(job_id, seconds=MAX_SECONDS)
        assert status["message"]
        outcome = f"{status['status']}: {status['message']}"
        assert service.client.delete(f"/api/transcribe/jobs/{job_id}").status_code == 204
    else:
        assert answer.status_code == 400, answer.text
        outcome = str(answer.json()["detail"])
    assert time.monotonic() - began < MAX_SECONDS
    assert "Traceback" not in outcome
    return outcome


def left_over(service: Service) -> list[Path]:
    folders = (service.data_dir / "uploads", service.data_dir / "files" / "recordings")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("file", hostile_files(), ids=lambda file: file.name)
def test_no_file_harms_the_service(
    attacked: Service, memory: Memory, tmp_path: Path, file: HostileFile
) -> None:
    path = tmp_path / file.name
    file.write(path)
    assert_harmless(attacked, path)
    assert memory.growth() < MAX_GROWTH


@pytest.mark.parametrize("file", playlists.playlists(), ids=lambda file: file.name)
def test_what_names_other_files_and_addresses_is_refused(
    attacked: Service, tmp_path: Path, file: HostileFile
) -> None:
    path = tmp_path / file.name
    file.write(path)
    answer = upload(attacked, path)
    assert answer.status_code == 400, answer.text


@dataclass(frozen=True)
class Damaged:
    suffix: str
    data: bytes


@pytest.fixture(scope="module")
def damaged(audio_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Damaged]:
    """Good files of all containers, cut at every hundredth, and with bits flipped."""
    samples = samples_of(audio_dir / "jfk.flac")[: round(FLIPPED_SECONDS * 16_000)]
    good = damage.good_containers(tmp_path_factory.mktemp("good"), samples)
    assert len(good) >= 12
    generator = random.Random(7)
    cut = [
        Damaged(path.suffix, data)
        for path in good
        for data in damage.truncations(path.read_bytes())
    ]
    flipped = [
        Damaged(
            path.suffix,
            damage.flipped(path.read_bytes(), seed=seed, flips=generator.randint(1, 50)),
        )
        for seed in range(N_FLIPPED // len(good) + 1)
        for path in good
    ]
    return cut + flipped


def test_damaged_files_are_decoded_or_refused(damaged: list[Damaged]) -> None:
    """No damage makes a decoder crash or hang, and what still decodes is not refused."""

    def outcome(number: int, file: Damaged) -> str:
        try:
            if number % 4 == 0:
                audio.probe(io.BytesIO(file.data))
            return "decoded" if list(audio.decode(io.BytesIO(file.data))) else "empty"
        except audio.NotAudioError as error:
            return str(error)

    with ThreadPoolExecutor(2) as threads:
        outcomes = Counter(threads.map(outcome, range(len(damaged)), damaged))
    assert limits.CRASHED not in outcomes
    assert limits.TOO_MUCH_TIME not in outcomes
    assert outcomes["decoded"] > len(damaged) / 2, outcomes


def test_damaged_files_do_the_service_no_harm(
    attacked: Service, memory: Memory, damaged: list[Damaged], tmp_path: Path
) -> None:
    jobs = []
    for number, file in enumerate(random.Random(3).sample(damaged, N_SENT)):
        path = tmp_path / f"{number}{file.suffix}"
        path.write_bytes(file.data)
        answer = upload(attacked, path)
        if answer.status_code == 200:
            jobs.append(answer.json()["job_id"])
        else:
            assert answer.status_code == 400, answer.text
            assert answer.json()["detail"]
    for job_id in jobs:
        attacked.finished(job_id, seconds=MAX_SECONDS)
        attacked.client.delete(f"/api/transcribe/jobs/{job_id}")
    assert len(jobs) > N_SENT / 3
    assert memory.growth() < MAX_GROWTH


def test_afterwards_all_is_as_before(attacked: Service, memory: Memory, audio_dir: Path) -> None:
    began = time.monotonic()
    assert attacked.transcribe(audio_dir / "jfk.flac")["segments"]
    assert time.monotonic() - began < 10
    jobs = attacked.client.get("/api/transcribe/jobs").json()["jobs"]
    for job in jobs:
        attacked.client.delete(f"/api/transcribe/jobs/{job['job_id']}")
    assert left_over(attacked) == []
    assert "Traceback" not in attacked.log()
