"""How fast many workers are together, when inference itself takes a known time: on servers of its own.

In the environment of the service under test, `python -m tests.scaling make-job N` makes a job of so many chunks, and
`python -m tests.scaling claim-and-commit N` does so many, without inference, and writes what that took.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests import servers
from tests.service import Service, wait_for
from tests.waiting_engine import RATE

CHUNK_SECONDS = 108.0
STREAMS_A_CHUNK = 4
"""As a long recording has them."""
RECORDING_SECONDS = 3600.0
SEGMENTS_A_CHUNK = 10
WAIT_SECONDS = 2.0
"""What real inference of such a chunk takes here, about."""


@dataclass(frozen=True, slots=True)
class Throughput:
    n_workers: int
    n_chunks: int
    chunks_per_second: float
    overhead: float
    """Seconds from the commit of a worker's chunk to that of its next one, less the time that it waited; the median."""


def measure(*, n_workers: int, n_chunks: int, wait: float = WAIT_SECONDS) -> Throughput:
    """Have so many workers do so many chunks, and look at the time when all of them worked."""
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.Postgres() as postgres,
        servers.Redis() as redis,
    ):
        speech = Service(
            Path(folder) / "data",
            roles="speech",
            DATABASE_URL=servers.create_database(postgres.url),
            REDIS_URL=redis.url,
            DJANGO_SETTINGS_MODULE="tests.waiting_settings",
            TRANSCRIBER_SPEECH_WORKERS=str(n_workers),
            TRANSCRIBER_LOG_LEVEL="WARNING",
            **{RATE: str(wait / CHUNK_SECONDS)},
        )
        speech.data_dir.mkdir()
        speech.run("django", "migrate", "--verbosity", "0")
        with speech:
            # Not before all are there: to start a process takes longer than a chunk.
            wait_for(
                lambda: (
                    speech.query("SELECT count(*) FROM transcription_worker")[0][0] == n_workers
                ),
                what=f"{n_workers} workers",
                seconds=300,
            )
            speech.run("tests.scaling", "make-job", str(n_chunks))
            wait_for(
                lambda: not speech.query("SELECT 1 FROM transcription_chunk WHERE state <> 'done'"),
                what="the end of all chunks",
                seconds=60 + 3 * wait * n_chunks / n_workers,
            )
            return _throughput(speech, n_workers=n_workers, wait=wait)


def _throughput(speech: Service, *, n_workers: int, wait: float) -> Throughput:
    rows = speech.query(
        "SELECT worker, extract(epoch FROM finished_at) FROM transcription_chunk ORDER BY finished_at"
    )
    commits: dict[str, list[float]] = {}
    for claim, at in rows:
        commits.setdefault(claim.rpartition("/")[0], []).append(float(at))
    assert len(commits) == n_workers, f"{len(commits)} of {n_workers} workers took part"
    # From when the last of them had begun to when the first of them found nothing more to do.
    begin = max(times[0] for times in commits.values())
    end = min(times[-1] for times in commits.values())
    n_between = sum(begin < at <= end for times in commits.values() for at in times)
    cycles = [b - a for times in commits.values() for a, b in pairwise(times)]
    return Throughput(
        n_workers=n_workers,
        n_chunks=len(rows),
        chunks_per_second=n_between / (end - begin),
        overhead=median(cycles) - wait,
    )


def overhead(*, n_chunks: int = 300) -> tuple[float, float]:
    """Seconds that one worker takes to claim a chunk, and to commit it with ten segments, on PostgreSQL; medians."""
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.Postgres() as postgres,
        servers.Redis() as redis,
    ):
        urls = {"DATABASE_URL": servers.create_database(postgres.url), "REDIS_URL": redis.url}
        worker = Service(Path(folder) / "data", **urls)
        worker.data_dir.mkdir()
        worker.run("django", "migrate", "--verbosity", "0")
        worker.run("tests.scaling", "make-job", str(n_chunks))
        claim, commit = worker.run("tests.scaling", "claim-and-commit", str(n_chunks)).split()
        return float(claim), float(commit)


# ---- In the environment of the service


def make_job(n_chunks: int) -> None:
    """A prepared job. Its chunks lie on an hour of samples, over and over: they are there to be read."""
    import numpy as np

    from transcription.jobs import lifecycle, prepare
    from transcription.leasing.leases import Lease
    from transcription.models import Recording
    from transcription.recordings import SamplesWriter
    from transcription.speech.chunks import PlannedChunk
    from transcription.speech.engines.base import SAMPLE_RATE, Span

    recording = Recording(name="talk.flac", file="talk.flac", size=1)
    writer = SamplesWriter(recording)
    noise = np.random.default_rng(1).integers(-999, 999, 60 * SAMPLE_RATE, dtype=np.int16)
    for _ in range(round(RECORDING_SECONDS / 60)):
        writer.write(noise)
    writer.flush()
    job = lifecycle.create_job(
        recording=recording, model_name="tiny.en", language="en", diarize=False
    )
    stage = prepare.claim_preparation()
    assert stage is not None
    lease = Lease(stage, condition=lifecycle.active_job_filter)
    length = CHUNK_SECONDS / STREAMS_A_CHUNK
    planned = []
    for index in range(n_chunks):
        start = CHUNK_SECONDS * index % (RECORDING_SECONDS - CHUNK_SECONDS)
        begins = [start + length * stream for stream in range(STREAMS_A_CHUNK)]
        streams = tuple(Span(begin, begin + length) for begin in begins)
        planned.append(PlannedChunk(streams=streams, speech=streams))
    prepare.add_chunks(lease=lease, job=job, planned=planned, first_index=0)
    prepare.finish_preparation(lease=lease, job=job, duration=RECORDING_SECONDS)


def claim_and_commit(n_chunks: int) -> None:
    from transcription.jobs import lifecycle, transcribe
    from transcription.leasing.leases import Lease
    from transcription.speech.engines.base import TranscribedSegment

    claims, commits = [], []
    for _ in range(n_chunks):
        began = time.perf_counter()
        chunk = transcribe.claim_chunk(model_name="tiny.en")
        claims.append(time.perf_counter() - began)
        assert chunk is not None
        said = [
            TranscribedSegment(
                chunk.start + n, chunk.start + n + 1, f"Sentence {n}. " * 5, (), -0.1, 0.0, 1.0, 0.0
            )
            for n in range(SEGMENTS_A_CHUNK)
        ]
        lease = Lease(chunk, condition=lifecycle.active_job_filter)
        began = time.perf_counter()
        transcribe.finish_chunk(
            lease=lease, chunk=chunk, segments=said, engine="faster-whisper", device="cpu"
        )
        commits.append(time.perf_counter() - began)
    sys.stdout.write(f"{median(claims)} {median(commits)}\n")


if __name__ == "__main__":
    import django

    django.setup()
    from transcription import access

    access.become_service()
    {"make-job": make_job, "claim-and-commit": claim_and_commit}[sys.argv[1]](int(sys.argv[2]))
