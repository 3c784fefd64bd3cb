"""`python -m tests.committing`: a job whose chunks are committed at a steady pace, as a worker does, without inference.

With the environment of the service under test. It writes the job's id; at a line on its standard input it begins,
and writes for each chunk when it was committed (seconds since the epoch) and the ids of its segments, as JSON.
"""

import json
import os
import sys
import time

import django

N_CHUNKS = 10
SEGMENTS_A_CHUNK = 5
PAUSE_SECONDS = 1.0
CHUNK_SECONDS = 20.0


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcriber_site.settings")
    django.setup()
    from transcription import access
    from transcription.jobs import lifecycle, prepare
    from transcription.leasing.leases import Lease
    from transcription.models import Recording
    from transcription.speech.chunks import PlannedChunk
    from transcription.speech.engines.base import Span

    access.become_service()
    recording = Recording(name="talk.flac", file="talk.flac", size=1)
    job = lifecycle.create_job(
        recording=recording, model_name="tiny.en", language="en", diarize=False
    )
    stage = prepare.claim_preparation()
    assert stage is not None
    assert stage.job_id == job.pk
    spans = [Span(CHUNK_SECONDS * n, CHUNK_SECONDS * (n + 1)) for n in range(N_CHUNKS)]
    planned = [PlannedChunk(streams=(span,), speech=(span,)) for span in spans]
    lease = Lease(stage, condition=lifecycle.active_job_filter)
    prepare.add_chunks(lease=lease, job=job, planned=planned, first_index=0)
    prepare.finish_preparation(lease=lease, job=job, duration=CHUNK_SECONDS * N_CHUNKS)
    _tell(str(job.pk))
    sys.stdin.readline()
    for _ in range(N_CHUNKS):
        time.sleep(PAUSE_SECONDS)
        _tell(_commit_next())
    # A worker lives on: who ends with its commit wakes nobody, and is heard two seconds later.
    time.sleep(PAUSE_SECONDS)


def _commit_next() -> dict[str, object]:
    from django.db import transaction

    from transcription.jobs import lifecycle, transcribe
    from transcription.leasing.leases import Lease
    from transcription.speech.engines.base import TranscribedSegment

    chunk = transcribe.claim_chunk(model_name="tiny.en")
    assert chunk is not None
    step = CHUNK_SECONDS / SEGMENTS_A_CHUNK
    said = [
        TranscribedSegment(
            chunk.start + n * step,
            chunk.start + (n + 1) * step,
            f"Sentence {n} of chunk {chunk.index}, about as long as people speak in one breath.",
            words=(),
            avg_logprob=-0.2,
            no_speech_prob=0.0,
            compression_ratio=1.0,
            temperature=0.0,
        )
        for n in range(SEGMENTS_A_CHUNK)
    ]
    lease = Lease(chunk, condition=lifecycle.active_job_filter)
    committed: list[float] = []
    with transaction.atomic():
        # Before those that wake listeners: what is done at a commit is done in the order of being asked for.
        transaction.on_commit(lambda: committed.append(time.time()))
        transcribe.finish_chunk(
            lease=lease, chunk=chunk, segments=said, engine="faster-whisper", device="cpu"
        )
    return {"at": committed[0], "ids": list(chunk.segments.values_list("pk", flat=True))}


def _tell(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
