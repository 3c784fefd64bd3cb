"""Dockerfile and compose.yaml, parsed but not built: their commands, targets and settings exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from dockerfile_parse import DockerfileParser

from tests.service import ROOT
from transcriber_site import env, supervisor
from transcriber_site.management.commands.serve import ROLES

OWN = ("web", "speech", "interactive")
KNOWN_INSTRUCTIONS = {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "CMD", "COMMENT"}
SHELL_PROGRAMS = {"pip", "useradd", "mkdir", "chown", "apt-get", "rm"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def dockerfile() -> list[dict[str, Any]]:
    structure: list[dict[str, Any]] = DockerfileParser(str(ROOT)).structure
    return structure


def values_of(dockerfile: list[dict[str, Any]], kind: str) -> list[str]:
    return [str(line["value"]) for line in dockerfile if line["instruction"] == kind]


def assert_runs_manage_py(command: list[str]) -> None:
    """`python manage.py serve …`, with options that it takes."""
    assert command[:2] == ["python", "manage.py"]
    assert (ROOT / command[1]).is_file()
    name, arguments = command[2], command[3:]
    assert name in get_commands()
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    options = parser.parse_args(arguments)
    assert set(options.only) <= set(ROLES)


def test_the_dockerfile_has_a_web_and_a_worker_target(dockerfile: list[dict[str, Any]]) -> None:
    assert {line["instruction"] for line in dockerfile} <= KNOWN_INSTRUCTIONS
    assert values_of(dockerfile, "FROM") == ["python:3.11-slim-bookworm AS web", "web AS worker"]


def test_each_target_runs_a_command_that_exists(dockerfile: list[dict[str, Any]]) -> None:
    commands = [yaml.safe_load(value) for value in values_of(dockerfile, "CMD")]
    assert len(commands) == 2
    for command in commands:
        assert_runs_manage_py(command)


def test_build_steps_use_known_programs_and_extras(dockerfile: list[dict[str, Any]]) -> None:
    extras = (ROOT / "pyproject.toml").read_text()
    for value in values_of(dockerfile, "RUN"):
        for part in value.split("&&"):
            words = shlex.split(part)
            assert words[0] in SHELL_PROGRAMS
            for extra in re.findall(r"\[(\w+)\]", part):
                assert re.search(rf"^{extra} = \[", extras, re.MULTILINE), extra


def test_neither_target_runs_as_root(dockerfile: list[dict[str, Any]]) -> None:
    stages: list[list[str]] = []
    for line in dockerfile:
        if line["instruction"] == "FROM":
            stages.append([])
        elif line["instruction"] == "USER":
            stages[-1].append(line["value"])
    assert [users[-1] for users in stages] == ["transcriber", "transcriber"]


def test_the_services_are_built_from_targets_and_run_commands_that_exist(
    compose: dict[str, Any], dockerfile: list[dict[str, Any]]
) -> None:
    targets = {value.rpartition(" ")[2] for value in values_of(dockerfile, "FROM")}
    assert set(compose["services"]) == {*OWN, "postgres", "redis"}
    for name in OWN:
        service = compose["services"][name]
        assert service["build"]["target"] in targets
        assert (ROOT / service["build"]["context"]).resolve() == ROOT
        if "command" in service:
            assert_runs_manage_py(service["command"])
            assert service["command"][-1] == name


def test_the_services_have_existing_settings_and_share_files_and_secret_key(
    compose: dict[str, Any],
) -> None:
    for name in OWN:
        service = compose["services"][name]
        assert set(service["environment"]) <= env.known_names()
        assert {"DATABASE_URL", "REDIS_URL", "TRANSCRIBER_SECRET_KEY"} <= set(
            service["environment"]
        )
        assert "files:/data/files" in service["volumes"]
        assert int(service["stop_grace_period"].removesuffix("s")) > supervisor.GRACE_SECONDS
        assert set(service["depends_on"]) == {"postgres", "redis"}
    used = {
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }
    assert used == set(compose["volumes"])


def test_people_sign_in_and_the_first_is_told_how_to_be_created(compose: dict[str, Any]) -> None:
    """In a container the service listens on all addresses, which it does not without accounts."""
    for name in OWN:
        assert compose["services"][name]["environment"]["TRANSCRIBER_ACCOUNTS"] == "required"
    [command] = re.findall(
        r"docker compose exec web (python .*)", (ROOT / "compose.yaml").read_text()
    )
    assert command == "python manage.py createsuperuser"
    assert "createsuperuser" in get_commands()


def test_what_is_copied_into_the_image_is_there(dockerfile: list[dict[str, Any]]) -> None:
    assert values_of(dockerfile, "COPY") == [". ."]
    ignored = set((ROOT / ".dockerignore").read_text().split())
    for needed in ("manage.py", "pyproject.toml", "README.md", "templates", "transcriber_site"):
        assert Path(ROOT / needed).exists()
        assert needed not in ignored
