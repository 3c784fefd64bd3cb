"""Settings: all are documented, wrong values stop the start, incompatible ones are pointed out."""

import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings
from django.views.debug import SafeExceptionReporterFilter

from transcriber_site import checks, env

ROOT = Path(__file__).resolve().parents[2]


def run_check(data_dir: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py check` in a new process with these variables and no other settings."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TRANSCRIBER_") and name not in ("DATABASE_URL", "REDIS_URL")
    }
    return subprocess.run(
        [sys.executable, "manage.py", "check", *options],
        cwd=ROOT,
        env={**inherited, "TRANSCRIBER_DATA_DIR": str(data_dir), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_readme_documents_exactly_the_settings_that_exist() -> None:
    section = (ROOT / "README.md").read_text().split("## Settings", 1)[1].split("\n## ", 1)[0]
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", section, re.MULTILINE))
    assert settings.configured
    assert documented == env.known_names()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("TRANSCRIBER_ENGINE", "kaldi", "faster-whisper, openai-whisper"),
        ("TRANSCRIBER_DEVICE", "CPU", "auto, cpu, cuda"),
        ("TRANSCRIBER_DIARIZATION_ENGINE", "guess", "pyannote, senko"),
        ("TRANSCRIBER_BEAM_SIZE", "five", "a whole number, from 1 to 20"),
        ("TRANSCRIBER_BEAM_SIZE", "0", "a whole number, from 1 to 20"),
        ("TRANSCRIBER_LEASE_SECONDS", "4", "a whole number, 5 or more"),
        ("TRANSCRIBER_DEBUG", "perhaps", "true or false"),
        ("TRANSCRIBER_MAX_UPLOAD_BYTES", "2 pounds", "a number of bytes"),
        ("TRANSCRIBER_CORS_ORIGINS", "notes.example.org", "https://notes.example.org"),
        ("TRANSCRIBER_CORS_ORIGINS", "file://notes", "http, https, app, capacitor"),
        ("TRANSCRIBER_CORS_ORIGINS", "https://notes.example.org/page", "https://notes.example.org"),
        ("TRANSCRIBER_CSRF_TRUSTED_ORIGINS", "app://notes", "(http, https)"),
        ("TRANSCRIBER_ACCOUNTS", "on", "off, required"),
        ("TRANSCRIBER_OPEN", "maybe", "true or false"),
        ("TRANSCRIBER_PROXIES", "proxy.example.org", "192.0.2.7 or 10.0.0.0/8"),
        ("TRANSCRIBER_PROXIES", "10.0.0.1/8", "has host bits set"),
        ("DATABASE_URL", "mongodb://somewhere/x", "postgres://"),
        ("REDIS_URL", "localhost:6379", "redis://"),
        ("OPENAI_BASE_URL", "localhost:11434/v1", "http://, https://"),
        ("OPENAI_BASE_URL", "http://localhost:many/v1", "http://localhost:8080/v1"),
        ("OPENAI_BASE_URL", "http:///v1", "http://localhost:8080/v1"),
        ("TRANSCRIBER_LLM_TIMEOUT_SECONDS", "0", "a whole number, 1 or more"),
        ("TRANSCRIBER_SECRET_KEY_FILE", "/does/not/exist", "readable file"),
    ],
)
def test_a_wrong_value_stops_the_start_with_its_name_and_what_is_allowed(
    tmp_path: Path, name: str, value: str, allowed: str
) -> None:
    done = run_check(tmp_path, **{name: value})
    assert done.returncode != 0
    assert done.stderr.startswith(f"Wrong setting: {name.removesuffix('_FILE')} ")
    assert allowed in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_check(tmp_path / "file" / "data")
    assert done.returncode != 0
    assert done.stderr.startswith("Wrong setting: TRANSCRIBER_DATA_DIR must name a writable folder")


def test_incompatible_settings_are_an_error_with_an_id(tmp_path: Path) -> None:
    done = run_check(tmp_path, TRANSCRIBER_DEVICE="cpu", TRANSCRIBER_COMPUTE_TYPE="int8_float16")
    assert done.returncode != 0
    assert "transcriber.E002" in done.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"TRANSCRIBER_ACCOUNTS": "required", "TRANSCRIBER_HTTPS": "true"},
        {"TRANSCRIBER_CORS_ORIGINS": "app://notes,capacitor://localhost,https://a.example"},
        {"TRANSCRIBER_PROXIES": "10.0.0.0/8, 192.0.2.7,2001:db8::/32"},
    ],
)
def test_there_is_nothing_to_say_against_a_deployment(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    done = run_check(tmp_path, "--deploy", "--fail-level", "WARNING", **variables)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shared_by", [{"ACCOUNTS": "required"}, {"OPEN": "true"}])
def test_what_is_shared_without_encryption_is_pointed_out(
    tmp_path: Path, shared_by: dict[str, str]
) -> None:
    variables = {f"TRANSCRIBER_{name}": value for name, value in shared_by.items()}
    done = run_check(tmp_path, "--deploy", **variables)
    assert "transcriber.W009" in done.stderr
    assert "TRANSCRIBER_HTTPS=true" in done.stderr
    assert "transcriber.W009" not in run_check(tmp_path, **variables).stderr


def test_a_misspelt_setting_is_pointed_out(tmp_path: Path) -> None:
    done = run_check(tmp_path, TRANSCRIBER_ENGIN="faster-whisper")
    assert done.returncode == 0
    assert "TRANSCRIBER_ENGIN is set, but there is no such setting" in done.stderr


@pytest.mark.parametrize("engine", ["pyannote", "senko"])
def test_a_diarization_engine_that_is_not_installed_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    looked_for = []

    def missing(package: str) -> None:
        looked_for.append(package)
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(checks, "find_spec", missing)
    with override_settings(TRANSCRIBER_DIARIZATION_ENGINE=engine):
        [found] = checks.check_diarization_engine(None)
    assert found.id == "transcriber.W005"
    assert f"TRANSCRIBER_DIARIZATION_ENGINE={engine}" in found.msg
    assert looked_for[0].startswith(engine)


def test_the_token_of_the_model_hub_is_not_shown() -> None:
    hidden = SafeExceptionReporterFilter().hidden_settings
    assert hidden.search("HF_TOKEN")


def test_processes_that_start_at_once_agree_on_one_secret_key(tmp_path: Path) -> None:
    code = "from transcriber_site.settings import SECRET_KEY; print(SECRET_KEY)"
    environment = {**os.environ, "TRANSCRIBER_DATA_DIR": str(tmp_path)}
    environment.pop("TRANSCRIBER_SECRET_KEY", None)

    def key(_: int) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.check_output(command, cwd=ROOT, env=environment, text=True)

    with ThreadPoolExecutor(4) as pool:
        keys = set(pool.map(key, range(4)))
    assert len(keys) == 1
    kept = tmp_path / "secret-key"
    assert keys == {kept.read_text() + "\n"}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert list(tmp_path.glob("secret-key-*")) == []


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("1048576", 1048576), ("500MB", 500_000_000), ("2GiB", 2 * 1024**3), ("1.5 kib", 1536)],
)
def test_sizes_are_read_with_their_unit(
    monkeypatch: pytest.MonkeyPatch, text: str, n_bytes: int
) -> None:
    monkeypatch.setenv("TRANSCRIBER_MAX_UPLOAD_BYTES", text)
    assert env.size("TRANSCRIBER_MAX_UPLOAD_BYTES", 1) == n_bytes


def test_a_value_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-a-file\n")
    monkeypatch.delenv("TRANSCRIBER_SECRET_KEY", raising=False)
    monkeypatch.setenv("TRANSCRIBER_SECRET_KEY_FILE", str(secret))
    assert env.text("TRANSCRIBER_SECRET_KEY") == "from-a-file"


def test_postgresql_without_redis_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    with override_settings(REDIS_URL=""):
        [warning] = checks.check_postgresql_without_redis(None)
    assert warning.id == "transcriber.W006"
    with override_settings(REDIS_URL="redis://somewhere"):
        assert checks.check_postgresql_without_redis(None) == []


def test_files_may_lie_elsewhere(tmp_path: Path) -> None:
    done = run_check(tmp_path / "data", TRANSCRIBER_FILES_DIR=str(tmp_path / "shared"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "shared").is_dir()
    done = run_check(tmp_path / "data", TRANSCRIBER_FILES_DIR="/proc/nowhere")
    assert done.returncode != 0
    assert "TRANSCRIBER_FILES_DIR must name a writable folder" in done.stderr


# ---- Who can read what is stored

LOOK_AT_MODES = """
import os, stat, sys
from pathlib import Path
os.umask(0o022)
import django
django.setup()
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS note (text)")
    cursor.execute("INSERT INTO note VALUES ('secret')")
default_storage.save("recordings/one/original.flac", ContentFile(b"secret"))
folder = Path(settings.TRANSCRIBER_DATA_DIR)
for path in sorted([folder, *folder.rglob("*")]):
    print(f"{stat.S_IMODE(path.stat().st_mode):04o} {path.relative_to(folder.parent)}")
"""


def modes(data_dir: Path) -> dict[str, str]:
    """The modes of all that the service stores in a data folder, while it has its database open."""
    environment = {
        **os.environ,
        "TRANSCRIBER_DATA_DIR": str(data_dir),
        "DJANGO_SETTINGS_MODULE": "transcriber_site.settings",
        "DATABASE_URL": "",
        "TRANSCRIBER_SECRET_KEY": "",
    }
    command = [sys.executable, "-c", LOOK_AT_MODES]
    lines = subprocess.check_output(command, cwd=ROOT, env=environment, text=True).splitlines()
    return {name: mode for mode, name in (line.split(" ", 1) for line in lines)}


def test_nobody_but_its_user_can_read_what_the_service_stores(tmp_path: Path) -> None:
    found = modes(tmp_path / "data")
    folders = {"data", "data/files", "data/uploads", "data/files/recordings"}
    files = {
        *(f"data/transcriber.sqlite3{suffix}" for suffix in ("", "-wal", "-shm")),
        *("data/secret-key", "data/files/recordings/one/original.flac"),
    }
    assert {name for name, mode in found.items() if mode == "0700"} == {
        *folders,
        "data/files/recordings/one",
    }
    assert {name for name, mode in found.items() if mode == "0600"} == files
    assert len(found) == len(folders) + 1 + len(files)


def test_what_an_earlier_version_left_open_is_closed_at_the_start(tmp_path: Path) -> None:
    modes(tmp_path / "data")
    database = tmp_path / "data" / "transcriber.sqlite3"
    for path in (tmp_path / "data", tmp_path / "data" / "files"):
        path.chmod(0o755)
    for suffix in ("", "-wal", "-shm"):
        beside = database.with_name(database.name + suffix)
        beside.touch()
        beside.chmod(0o644)
    assert run_check(tmp_path / "data").returncode == 0
    for path in (tmp_path / "data", tmp_path / "data" / "files"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in database.parent.glob("transcriber.sqlite3*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_folder_that_all_share_is_not_closed(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert run_check(tmp_path / "data", TRANSCRIBER_FILES_DIR=str(shared)).returncode == 0
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
