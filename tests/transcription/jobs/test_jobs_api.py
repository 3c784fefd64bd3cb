"""Whoever runs the service, or builds on it, asks what jobs there are and how they stand."""

import json
import re
from typing import Any

import pytest
from django.test import Client

from tests import UNKNOWN_ID
from tests.service import Service
from tests.transcription.conftest import WatchedJob
from transcription.models import Chunk, Job, Leased, Recording, Segment
from transcription.speech.catalogue import MODELS

pytestmark = pytest.mark.both

JOBS, MODELS_PATH = "/api/transcribe/jobs", "/api/transcribe/models"
STATUS_FIELDS = {"job_id", "status", "message", "progress", "updated_at"}


def new_job(status: Job.Status = Job.Status.QUEUED, **values: Any) -> Job:
    recording = Recording.objects.create(name="a.flac", file="a.flac", size=1, duration=60.0)
    values = {"model_name": "tiny.en", "message": "Somewhere", "language": "en", **values}
    return Job.objects.create(recording=recording, status=status, **values)


def add_segment(job: Job, text: str) -> Segment:
    chunk = Chunk.objects.create(
        job=job, index=0, start=1.0, end=4.0, streams=[], speech=[], state=Leased.State.DONE
    )
    return Segment.objects.create(job=job, chunk=chunk, start=1.5, end=3.25, text=text)


# ---- The list


@pytest.mark.django_db
def test_without_jobs_the_list_is_empty(client: Client) -> None:
    assert client.get(JOBS).json() == {"jobs": [], "count": 0}


@pytest.mark.django_db
def test_jobs_are_listed_newest_first(client: Client) -> None:
    ids = [str(new_job().pk) for _ in range(5)]
    answer = client.get(JOBS).json()
    assert [job["job_id"] for job in answer["jobs"]] == ids[::-1]
    assert answer["count"] == 5
    assert all(set(job) == STATUS_FIELDS for job in answer["jobs"])


@pytest.mark.django_db
def test_an_older_job_that_changed_stays_where_it_was(client: Client) -> None:
    first, second = new_job(), new_job()
    first.save()
    assert [job["job_id"] for job in client.get(JOBS).json()["jobs"]] == [
        str(second.pk),
        str(first.pk),
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ("processing", {"queued", "running"}),
        ("completed", {"completed"}),
        ("failed", {"failed", "cancelled"}),
    ],
)
def test_jobs_can_be_filtered_by_status(client: Client, asked: str, own: set[str]) -> None:
    jobs = {str(new_job(status).pk): str(status) for status in Job.Status}
    answer = client.get(JOBS, {"status": asked}).json()
    assert {jobs[job["job_id"]] for job in answer["jobs"]} == own
    assert {job["status"] for job in answer["jobs"]} == {asked}
    assert answer["count"] == len(own)


@pytest.mark.django_db
def test_the_list_can_be_limited(client: Client) -> None:
    newest = [str(new_job().pk) for _ in range(3)][:0:-1]
    answer = client.get(JOBS, {"limit": "2"}).json()
    assert [job["job_id"] for job in answer["jobs"]] == newest
    assert answer["count"] == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"status": "sleeping"}, "status"),
        ({"limit": "0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"limit": "1000000"}, "limit"),
    ],
)
def test_a_wrong_filter_is_a_400_that_names_it(
    client: Client, query: dict[str, str], said: str
) -> None:
    answer = client.get(JOBS, query)
    assert answer.status_code == 400
    assert list(answer.json()) == ["detail"]
    assert said in answer.json()["detail"]


# ---- Status and result


@pytest.mark.django_db
@pytest.mark.parametrize("status", Job.Status)
def test_a_status_is_one_of_the_documented(client: Client, status: Job.Status) -> None:
    job = new_job(status, progress=40, message="Processing chunk 2/5 (40%)")
    answer = client.get(f"/api/transcribe/status/{job.pk}")
    assert answer.status_code == 200
    assert answer.json() == {
        "job_id": str(job.pk),
        "status": {"completed": "completed", "failed": "failed", "cancelled": "failed"}.get(
            status, "processing"
        ),
        "message": "Processing chunk 2/5 (40%)",
        "progress": 40,
        "updated_at": pytest.approx(job.updated_at.timestamp()),
    }


@pytest.mark.django_db
@pytest.mark.parametrize("status", Job.ACTIVE)
def test_the_result_of_an_unfinished_job_is_its_status(client: Client, status: Job.Status) -> None:
    job = new_job(status)
    answer = client.get(f"/api/transcribe/result/{job.pk}")
    assert answer.status_code == 202
    assert answer.json() == client.get(f"/api/transcribe/status/{job.pk}").json()


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Job.Status.FAILED, Job.Status.CANCELLED])
def test_the_result_of_a_failed_job_is_a_409_with_the_reason(
    client: Client, settings: Any, status: Job.Status
) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://a.example"]
    job = new_job(status, message="Chunk 3 failed: the disk is full")
    add_segment(job, "What there is.")
    answer = client.get(f"/api/transcribe/result/{job.pk}", headers={"Origin": "https://a.example"})
    assert answer.status_code == 409
    assert list(answer.json()) == ["detail"]
    assert "Chunk 3 failed: the disk is full" in answer.json()["detail"]
    assert "?partial=true" in answer.json()["detail"]
    assert answer["Access-Control-Allow-Origin"] == "https://a.example"


@pytest.mark.django_db
@pytest.mark.parametrize("status", Job.Status)
def test_partial_gives_what_there_is(client: Client, status: Job.Status) -> None:
    job = new_job(status)
    segment = add_segment(job, "What there is.")
    answer = client.get(f"/api/transcribe/result/{job.pk}", {"partial": "true"})
    assert answer.status_code == 200
    assert answer.json() == {
        "segments": [
            {
                "id": segment.pk,
                "start": 1.5,
                "end": 3.25,
                "text": "What there is.",
                "speaker": None,
                "speaker_confidence": None,
                "start_display": "00:00:01.500",
                "end_display": "00:00:03.250",
            }
        ],
        "text": "What there is.",
        "language": "en",
        "audio_duration": 60.0,
    }


@pytest.mark.django_db
def test_a_wrong_partial_is_a_400(client: Client) -> None:
    answer = client.get(f"/api/transcribe/result/{new_job().pk}", {"partial": "perhaps"})
    assert answer.status_code == 400
    assert "partial" in answer.json()["detail"]


@pytest.mark.django_db
def test_a_language_not_detected_yet_is_null(client: Client) -> None:
    job = new_job(Job.Status.RUNNING, language="")
    answer = client.get(f"/api/transcribe/result/{job.pk}", {"partial": "true"})
    assert answer.json()["language"] is None


@pytest.mark.django_db
@pytest.mark.parametrize("what", ["result", "debug"])
@pytest.mark.parametrize("job_id", ["nonsense", UNKNOWN_ID, "0" * 32])
def test_an_unknown_job_is_a_404(client: Client, what: str, job_id: str) -> None:
    answer = client.get(f"/api/transcribe/{what}/{job_id}")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Transcription job not found or expired"}


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["post", "put", "delete"])
@pytest.mark.parametrize("path", [JOBS, MODELS_PATH, "/api/transcribe/status/x"])
def test_what_can_only_be_read_is_a_405_otherwise(client: Client, method: str, path: str) -> None:
    answer = getattr(client, method)(path)
    assert answer.status_code == 405
    assert list(answer.json()) == ["detail"]


# ---- While a job runs, and after


@pytest.mark.slow
def test_a_running_job_answers_202_with_its_status(watched: WatchedJob) -> None:
    answers = [answer for path, answer in watched.running if path == f"result/{watched.job_id}"]
    early = [answer for answer in answers if answer.status_code == 202]
    assert len(early) > 5
    assert {answer.status_code for answer in answers} <= {200, 202}
    for answer in early:
        assert set(answer.json()) == STATUS_FIELDS
        assert answer.json()["status"] == "processing"
    assert len({answer.json()["progress"] for answer in early}) > 3


@pytest.mark.slow
def test_a_running_jobs_transcript_can_be_read_and_grows(
    waiting_service: Service, watched: WatchedJob
) -> None:
    path = f"result/{watched.job_id}?partial=true"
    answers = [answer for asked, answer in watched.running if asked == path]
    assert {answer.status_code for answer in answers} == {200}
    counts = [len(answer.json()["segments"]) for answer in answers]
    assert counts == sorted(counts)
    assert len(set(counts)) > 5
    whole = waiting_service.result(watched.job_id)["segments"]
    for answer in answers:
        assert [segment for segment in answer.json()["segments"] if segment not in whole] == []


@pytest.mark.slow
def test_a_running_job_is_in_the_list(watched: WatchedJob) -> None:
    answers = [answer for path, answer in watched.running if path == "jobs?status=processing"]
    listed = [{job["job_id"] for job in answer.json()["jobs"]} for answer in answers]
    assert sum(watched.job_id in ids for ids in listed) > 5


@pytest.mark.slow
def test_debug_shows_what_goes_on(watched: WatchedJob) -> None:
    path = f"debug/{watched.job_id}"
    seen = [answer.json() for asked, answer in watched.running if asked == path]
    busy = [d for d in seen if d["chunk_states"]["doing"] and d["chunk_states"]["done"]]
    assert len(busy) > 3
    for debug in busy:
        doing = [chunk for chunk in debug["chunks"] if chunk["state"] == "doing"]
        assert all(chunk["worker"] and chunk["attempts"] == 1 for chunk in doing)
        assert all(chunk["lease_until"] > debug["updated_at"] for chunk in doing)
        assert debug["real_time_factor"] is None
        assert debug["state"] == "running"


@pytest.mark.slow
def test_debug_shows_what_was(waiting_service: Service, watched: WatchedJob) -> None:
    debug = waiting_service.debug(watched.job_id)
    result = waiting_service.result(watched.job_id)
    assert debug.items() >= waiting_service.status(watched.job_id).items()
    assert debug["state"] == "completed"
    assert debug["cached_segments"] == len(result["segments"])
    assert debug["latest_time"] == max(segment["end"] for segment in result["segments"])
    assert debug["model_name"] == "tiny.en"
    assert debug["engine"] == "faster-whisper"
    assert debug["device"] in ("cpu", "cuda")
    assert debug["language"] == "en"
    assert debug["diarize"] is False
    assert debug["audio_duration"] == pytest.approx(619, abs=1)
    assert 0 <= debug["queue_wait_seconds"] < 60
    assert debug["real_time_factor"] == pytest.approx(debug["processing_seconds"] / 619, rel=0.01)
    assert debug["chunk_states"] == {
        "todo": 0,
        "doing": 0,
        "failed": 0,
        "done": len(debug["chunks"]),
    }
    [stage] = debug["stages"]
    assert (stage["kind"], stage["state"], stage["error"]) == ("prepare", "done", "")
    assert [chunk["index"] for chunk in debug["chunks"]] == list(range(len(debug["chunks"])))
    for chunk in debug["chunks"]:
        assert (chunk["state"], chunk["attempts"], chunk["failures"]) == ("done", 1, 0)
        assert chunk["lease_until"] is None
        assert chunk["seconds"] > 0
        assert chunk["error"] == ""


@pytest.mark.django_db
def test_debug_of_a_job_that_has_not_begun(client: Client) -> None:
    debug = client.get(f"/api/transcribe/debug/{new_job().pk}").json()
    assert debug["state"] == "queued"
    assert (debug["cached_segments"], debug["latest_time"]) == (0, 0.0)
    assert debug["queue_wait_seconds"] is None
    assert debug["processing_seconds"] is None
    assert debug["real_time_factor"] is None
    assert debug["chunks"] == []


@pytest.mark.django_db
def test_debug_shows_the_errors_of_chunks(client: Client) -> None:
    job = new_job(Job.Status.FAILED)
    Chunk.objects.create(
        job=job,
        index=0,
        start=0,
        end=9,
        streams=[],
        speech=[],
        state=Leased.State.FAILED,
        attempts=3,
        failures=3,
        error="Decoding failed",
    )
    debug = client.get(f"/api/transcribe/debug/{job.pk}").json()
    [chunk] = debug["chunks"]
    assert (chunk["error"], chunk["failures"]) == ("Decoding failed", 3)
    assert debug["chunk_states"]["failed"] == 1


# ---- Models, schema, docs


@pytest.mark.django_db
def test_models_are_listed_as_documented_and_truthfully(client: Client) -> None:
    body = client.get(MODELS_PATH).json()
    assert list(body) == ["models"]
    models = {model["name"]: model for model in body["models"]}
    assert list(models) == list(MODELS)
    for model in models.values():
        assert set(model) == {"name", "full_name", "is_downloaded", "size_mb", "description"}
        assert isinstance(model["size_mb"], float)
        assert model["description"]
    assert models["tiny.en"]["full_name"] == "openai/whisper-tiny.en"
    assert models["tiny.en"]["is_downloaded"] is True
    assert models["tiny.en"]["size_mb"] == pytest.approx(75.5, abs=1)


@pytest.mark.slow
def test_a_model_that_is_listed_as_absent_is_absent(service: Service) -> None:
    models = service.client.get(MODELS_PATH).json()["models"]
    here = {model["name"] for model in models if model["is_downloaded"]}
    assert {"tiny.en", "base"} <= here
    assert "small" not in here
    assert "large-v3" not in here


def test_the_schema_describes_every_documented_path(client: Client) -> None:
    answer = client.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    schema = json.loads(answer.content)
    assert schema["openapi"].startswith("3.")
    paths = {path.rstrip("/"): set(methods) for path, methods in schema["paths"].items()}
    assert {
        "/health": {"get"},
        "": {"get"},
        "/api/transcribe": {"post"},
        "/api/transcribe/models": {"get"},
        "/api/transcribe/jobs": {"get"},
        "/api/transcribe/status/{job_id}": {"get"},
        "/api/transcribe/result/{job_id}": {"get"},
        "/api/transcribe/debug/{job_id}": {"get"},
    }.items() <= paths.items()
    upload = schema["paths"]["/api/transcribe/"]["post"]
    form = upload["requestBody"]["content"]["multipart/form-data"]["schema"]["$ref"]
    fields = schema["components"]["schemas"][form.rpartition("/")[2]]
    numbers = {"num_speakers", "min_speakers", "max_speakers"}
    others = {"file", "model_name", "language", "diarize", "channels"}
    assert set(fields["properties"]) == others | numbers
    assert fields["required"] == ["file"]
    assert {"200", "400", "413", "503"} <= set(upload["responses"])


def test_every_reference_of_the_schema_leads_somewhere(client: Client) -> None:
    answer = client.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    schema = json.loads(answer.content)
    references = set(re.findall(rb'"\$ref": ?"([^"]+)"', answer.content))
    assert references
    for reference in references:
        place = schema
        for step in reference.decode().removeprefix("#/").split("/"):
            place = place[step]
    names = [m["operationId"] for path in schema["paths"].values() for m in path.values()]
    assert len(names) == len(set(names))


@pytest.mark.django_db
def test_answers_are_what_the_schema_says(client: Client) -> None:
    schema = json.loads(
        client.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"}).content
    )
    job = new_job(Job.Status.COMPLETED)
    add_segment(job, "Everything.")
    for shape, path in {
        "Result": f"result/{job.pk}?words=true",
        "Debug": f"debug/{job.pk}",
        "JobStatus": f"status/{job.pk}",
        "Jobs": "jobs",
        "Models": "models",
    }.items():
        described = set(schema["components"]["schemas"][shape]["properties"])
        assert set(client.get(f"/api/transcribe/{path}").json()) == described, shape


def test_the_docs_page_takes_nothing_from_outside(client: Client) -> None:
    page = client.get("/api/docs")
    assert page.status_code == 200
    assert re.findall(rb"""(?:src|href)=["'](?:https?:)?//""", page.content) == []
    [script] = re.findall(r'src="(/api/[^"]+)"', page.content.decode())
    assert 'url: "/api/schema"' in client.get(script).content.decode()


@pytest.mark.slow
def test_health_root_schema_and_docs_are_served(service: Service) -> None:
    health = service.client.get("/health").json()
    assert set(health) == {"status", "timestamp"}
    root = service.client.get("/").json()
    assert set(root) == {"name", "version", "endpoints"}
    for path in ("/api/schema", "/api/docs", "/api/docs/"):
        assert service.client.get(path).status_code == 200
    page = service.client.get("/api/docs").text
    for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert service.client.get(asset).status_code == 200
