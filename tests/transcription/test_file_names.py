"""An uploaded file may have any name and any declared type; what is no form is told how to send one."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from transcription.models import Recording
from transcription.parsers import MAX_NAME, readable_name

UPLOAD = "/api/transcribe/"


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("talk.wav", "talk.wav"),
        ("Grüße 你好 🎤.flac", "Grüße 你好 🎤.flac"),
        ("👩‍👩‍👧.mp3", "👩‍👩‍👧.mp3"),
        ("שיחה עם דנה.m4a", "שיחה עם דנה.m4a"),
        ("C:\\Users\\x\\talk.wav", "talk.wav"),
        ("../../etc/passwd", "passwd"),
        ("folder/", "folder"),
        ("a\0b\x1b[31m\nc\r.wav", "ab[31mc.wav"),
        ("evil\u202egpj.exe", "evilgpj.exe"),
        ("", "recording"),
        (".", "recording"),
        ("..", "recording"),
        ("...", "recording"),
        ("/", "recording"),
        ("\n", "recording"),
        (".flac", ".flac"),
        ("  spaces .wav ", "spaces .wav"),
        ("caf&eacute;.wav", "café.wav"),
    ],
)
def test_a_name_is_kept_as_people_read_it(name: str, readable: str) -> None:
    assert readable_name(name) == readable


@pytest.mark.parametrize(
    "name", ["v" * 300 + ".flac", "v." + "f" * 240, "v" * 10_000, "." * 400 + "x"]
)
def test_a_long_name_is_cut(name: str) -> None:
    cut = readable_name(name)
    assert len(cut) <= MAX_NAME
    if name.endswith(".flac"):
        assert cut.endswith("v.flac")


def post(client: Client, name: str, data: bytes, kind: str = "audio/flac") -> Any:
    """Upload with the name as it stands, which a client of Django's would clean."""
    body = (
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="'
        + name.replace("\\", "\\\\").replace('"', '\\"').encode()
        + b'"\r\nContent-Type: '
        + kind.encode()
        + b"\r\n\r\n"
        + data
        + b"\r\n--cut--\r\n"
    )
    return client.generic("POST", UPLOAD, body, content_type="multipart/form-data; boundary=cut")


@pytest.fixture
def flac(audio_dir: Any) -> bytes:
    return bytes((audio_dir / "jfk.flac").read_bytes())


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name",
    ["voice." + "f" * 240, ".", "..", "v" * 300 + ".flac", "a\0b.wav", "שלום.flac", "🎤", "con"],
)
def test_a_file_of_any_name_is_taken(client: Client, flac: bytes, name: str) -> None:
    assert post(client, name, flac).status_code == 200
    recording = Recording.objects.get()
    assert recording.name == readable_name(name)
    assert str(recording.file.name).startswith(f"recordings/{recording.id}/original")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "kind", ["text/vnd.trolltech.linguist", "text/plain", "image/png", "application/pdf", "x"]
)
def test_what_a_file_is_declared_as_refuses_nothing(client: Client, flac: bytes, kind: str) -> None:
    assert post(client, "talk.ts", flac, kind).status_code == 200


@pytest.mark.django_db
def test_two_files_are_refused_by_their_names(client: Client, flac: bytes) -> None:
    files = [SimpleUploadedFile(f"{name}.flac", flac) for name in ("first", "second")]
    for form in ({"file": files}, {"file": files[0], "other": files[1]}):
        for file in files:
            file.seek(0)
        answer = client.post(UPLOAD, form)
        assert answer.status_code == 400
        assert "first.flac, second.flac" in answer.json()["detail"]
    assert not Recording.objects.exists()


@pytest.mark.parametrize("path", [UPLOAD, "/api/retranslate/segment"])
@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/x-www-form-urlencoded", "audio/mpeg", "text/plain", ""],
)
def test_what_is_no_form_is_told_how_to_send_one(client: Client, path: str, kind: str) -> None:
    answer = client.generic("POST", path, b"file=abc", content_type=kind)
    assert answer.status_code == 400
    assert "-F file=@" in answer.json()["detail"]
