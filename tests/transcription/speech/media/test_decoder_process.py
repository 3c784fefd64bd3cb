"""A decoder process can do nothing but decode one file, and whatever it does, the service goes on."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.media import silence, write
from tests.service import ROOT, wait_for
from transcription.speech import audio
from transcription.speech.media import decoder_process, limits

LIMITED = """
import json, os, socket, sys
from transcription.speech.media import limits

def refused(what):
    try:
        what()
    except (OSError, MemoryError, ValueError) as error:
        return type(error).__name__
    return "allowed"

output = os.dup(1)
limits.give_up_everything_else()
answers = {
    "a file": refused(lambda: open("/etc/passwd")),
    "a socket": refused(socket.socket),
    "a pair of sockets": refused(socket.socketpair),
    "a process": refused(os.fork),
    "a program": refused(lambda: os.execv("/bin/true", ["true"])),
    "a signal": refused(lambda: os.kill(os.getppid(), 0)),
    "the limits": refused(lambda: limits.set_limit(9, -1)),
    "half a gigabyte": refused(lambda: bytearray(512 * 1024**2)),
    "some megabytes": refused(lambda: bytearray(50 * 1024**2)),
}
os.write(output, json.dumps(answers).encode())
"""


def spawner() -> psutil.Process:
    """The process that decoders are forked from. Its command line is known a moment after it was started."""

    def look() -> list[psutil.Process]:
        return [
            child
            for child in psutil.Process().children()
            if child.status() != psutil.STATUS_ZOMBIE
            and "transcription.speech.media.decoder" in child.cmdline()
        ]

    [found] = wait_for(look, what="a spawner")
    return found


# ---- What it may do


def test_it_can_open_nothing_and_start_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    answers = json.loads(done.stdout)
    assert answers.pop("some megabytes") == "allowed"
    assert answers.pop("half a gigabyte") == "MemoryError"
    assert answers.pop("the limits") == "ValueError", "Python's name for EPERM there"
    assert set(answers.values()) == {"PermissionError"}, answers


def test_the_operator_learns_where_it_can_not_be_kept_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert limits.why_system_calls_stay_open() is None
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    reason = limits.why_system_calls_stay_open()
    assert reason is not None
    assert "libseccomp" in reason


REFUSED = """
from transcription.speech.media import limits

class Refused:
    def load(self):
        raise OSError("no filters here")

limits._allowed_system_calls = Refused
confined = limits.give_up_everything_else()
try:
    bytearray(512 * 1024**2)
except MemoryError:
    print(confined, "and limited")
"""


def test_where_the_kernel_takes_no_filter_the_other_limits_hold(
    lies: Callable[[str], None], audio_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False and limited\n", done.stderr
    decoder_process._warn_of_open_system_calls.cache_clear()
    lies("send(messages.DONE)")
    for _ in range(2):
        list(audio.decode(audio_dir / "jfk.flac"))
    assert caplog.text.count("takes no filter") == 1


def test_it_has_nothing_of_the_service_but_its_file(
    audio_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRANSCRIBER_SECRET_KEY", "not for decoders")
    with (tmp_path / "open in the service").open("wb") as other:
        os.set_inheritable(other.fileno(), True)
        blocks = audio.decode(audio_dir / "reading-10min.flac")
        next(blocks)
        [decoder] = spawner().children()
        for process in (spawner(), decoder):
            own = {"PATH", "LD_LIBRARY_PATH", "LC_ALL"}
            assert not set(process.environ()) & {*os.environ} - own
            assert os.getpgid(process.pid) == spawner().pid, "a signal to the service reaches it"
        assert not spawner().open_files()
        assert [file.path for file in decoder.open_files()] == [
            str((audio_dir / "reading-10min.flac").resolve())
        ]
        blocks.close()  # type: ignore[attr-defined]  # a generator


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_only_its_service_ends_it(audio_dir: Path, number: signal.Signals) -> None:
    blocks = audio.decode(audio_dir / "reading-10min.flac")
    n_samples = len(next(blocks))
    for process in (spawner(), *spawner().children()):
        process.send_signal(number)
    n_samples += sum(map(len, blocks))
    assert n_samples == 9_913_441
    assert audio.probe(audio_dir / "jfk.flac").codec == "flac"


def test_it_ends_with_its_service(audio_dir: Path) -> None:
    script = f"""
        from pathlib import Path
        import psutil, time
        from transcription.speech import audio
        blocks = audio.decode(Path({str(audio_dir / "reading-10min.flac")!r}))
        next(blocks)
        print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        pids = [int(pid) for pid in service.stdout.readline().split()]
        service.kill()
    assert len(pids) == 2
    wait_for(lambda: not any(map(psutil.pid_exists, pids)), what="the end of its decoders")


def test_it_ends_before_a_worker_that_is_stopped(audio_dir: Path) -> None:
    """django-q2's workers are processes of multiprocessing, which do not run what `atexit` is to."""
    script = f"""
        import multiprocessing, psutil
        from pathlib import Path
        from transcription.speech import audio

        def work(pids):
            audio.probe(Path({str(audio_dir / "jfk.flac")!r}))
            pids.put([child.pid for child in psutil.Process().children()])

        context = multiprocessing.get_context("fork")
        pids = context.Queue()
        worker = context.Process(target=work, args=(pids,))
        worker.start()
        started = pids.get()
        worker.join()
        print(len(started), sum(map(psutil.pid_exists, started)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == ["1", "0"], done.stderr


def test_a_fork_of_the_service_has_decoders_of_its_own(audio_dir: Path) -> None:
    audio.probe(audio_dir / "jfk.flac")
    before = spawner()
    pid = os.fork()
    if pid == 0:
        try:
            audio.probe(audio_dir / "jfk.flac")
            decoder_process.end_spawner()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert spawner() == before
    audio.probe(audio_dir / "jfk.flac")


def test_several_files_at_once(audio_dir: Path) -> None:
    lengths: list[int] = []
    threads = [
        threading.Thread(target=lambda: lengths.append(len(audio.read_all(audio_dir / "jfk.flac"))))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [176_000] * 5
    assert not spawner().children()


def test_a_file_in_memory_is_read_too(audio_dir: Path) -> None:
    path = audio_dir / "jfk.flac"
    assert audio.probe(io.BytesIO(path.read_bytes())) == audio.probe(path)


def test_a_reader_that_stops_early_leaves_no_process(audio_dir: Path) -> None:
    blocks = audio.decode(audio_dir / "reading-10min.flac")
    next(blocks)
    [decoder] = spawner().children()
    del blocks  # as a loop does that is left
    assert not decoder.is_running()


def test_descriptors_are_closed(audio_dir: Path) -> None:
    audio.probe(audio_dir / "jfk.flac")
    processes = (psutil.Process(), spawner())
    before = [process.num_fds() for process in processes]
    for _ in range(20):
        audio.probe(audio_dir / "jfk.flac")
        with pytest.raises(audio.NotAudioError):
            audio.probe(io.BytesIO(b"no audio"))
    for process, n in zip(processes, before, strict=True):
        assert process.num_fds() < n + 5, "a file leaves none open; the last one's may still be"


# ---- What it does that it should not


@pytest.fixture
def lies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Has decoders run this code, which has the socket as `service`, in place of theirs."""
    decoder_process.end_spawner()
    yield lambda code: monkeypatch.setattr(decoder_process, "PROGRAM", ["-c", lying_program(code)])
    decoder_process.end_spawner()


def lying_program(code: str) -> str:
    program = """
        import os, signal, socket, sys, time
        from transcription.speech.media import messages, spawner

        def send(kind, body=b"", length=None):
            service.sendall(messages.HEADER.pack(kind, len(body) if length is None else length) + body)

        def samples(n_channels, data):
            return messages.CHANNELS.pack(n_channels) + data

        def lie(given):
            global service
            service = given
            send(messages.READY, messages.ready_body(os.getpid(), is_confined=False))
            service.recv(1024)
            exec(code)

        spawner.serve(lie)
    """
    return f"code = {textwrap.dedent(code)!r}\n" + textwrap.dedent(program)


BLOCK = "samples(1, bytes(640_000))"


@pytest.mark.parametrize(
    "code",
    [
        "send(b'?')",
        "send(messages.SAMPLES, length=2**32 - 1)",
        "send(messages.SAMPLES, samples(1, b'123'))",
        "send(messages.SAMPLES, samples(2, b'12'))",
        "send(messages.SAMPLES, samples(0, b'12'))",
        "send(messages.SAMPLES, samples(65, b'12' * 65))",
        "send(messages.SAMPLES, samples(1, b''))",
        "send(messages.SAMPLES)",
        "for n in (1, 2): send(messages.SAMPLES, samples(n, b'1234'))",
        "send(messages.INFO, b'{}')",
        "send(messages.DONE, b'more')",
        "send(messages.READY)",
        f"while True: send(messages.SAMPLES, {BLOCK})",
        "send(messages.FAULT, b'a traceback')",
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os.abort()",
        "sys.exit(1)",
        "service.sendall(b'S')",
    ],
)
def test_a_decoder_that_lies_or_crashes_makes_its_file_a_bad_one(
    lies: Callable[[str], None], audio_dir: Path, code: str
) -> None:
    lies(code + "\nsys.exit(1)")
    with pytest.raises(audio.NotAudioError, match="damaged in a way"):
        list(audio.decode(audio_dir / "jfk.flac", max_seconds=60))


@pytest.mark.parametrize(
    "body",
    [
        '{"container": "wav"}',
        '{"container": "wav", "codec": "pcm", "duration": NaN}',
        '{"container": "wav", "codec": "pcm", "duration": -1}',
        '{"container": "wav", "codec": "pcm", "duration": "1"}',
        '{"container": "wav", "codec": 5, "duration": 1}',
        '{"container": "' + "w" * 101 + '", "codec": "pcm", "duration": 1}',
        '{"container": "wav", "codec": "pcm", "duration": 1, "more": 1}',
        "[" * 10_000,
        "[]",
        "\udcff",
    ],
)
def test_what_it_says_of_a_file_is_checked(
    lies: Callable[[str], None], audio_dir: Path, body: str
) -> None:
    lies(f"send(messages.INFO, {body.encode(errors='surrogateescape')!r})")
    with pytest.raises(audio.NotAudioError, match="damaged in a way"):
        audio.probe(audio_dir / "jfk.flac")


def test_a_decoder_that_is_killed_is_not_the_files_fault(
    lies: Callable[[str], None], audio_dir: Path
) -> None:
    lies("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(audio.DecoderLostError, match="-9"):
        list(audio.decode(audio_dir / "jfk.flac"))
    with pytest.raises(audio.DecoderLostError, match="-9"):
        audio.probe(audio_dir / "jfk.flac")


def test_a_service_that_starts_its_spawner_has_it_for_the_first_file(audio_dir: Path) -> None:
    decoder_process.end_spawner()
    decoder_process.start_spawner()
    decoder_process.start_spawner()
    started = spawner()
    audio.probe(audio_dir / "jfk.flac")
    assert spawner() == started


def test_what_each_decoder_needs_is_loaded_before_it_is_forked(audio_dir: Path) -> None:
    """libseccomp is looked for by another program, which takes longer than all else that a probe does."""
    audio.probe(audio_dir / "jfk.flac")
    assert "libseccomp" in Path(f"/proc/{spawner().pid}/maps").read_text()


def test_a_spawner_that_was_killed_is_replaced(audio_dir: Path) -> None:
    info = audio.probe(audio_dir / "jfk.flac")
    before = spawner()
    before.kill()
    assert audio.probe(audio_dir / "jfk.flac") == info
    assert spawner() != before


def test_a_decoder_that_hangs_is_given_up(
    lies: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, audio_dir: Path
) -> None:
    monkeypatch.setattr(decoder_process, "STALL_SECONDS", 1)
    lies("time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(audio.DecoderLostError, match="sent nothing"):
        list(audio.decode(audio_dir / "jfk.flac"))
    assert time.monotonic() - began < 10


def test_a_decoder_that_computes_for_ever_is_stopped(
    lies: Callable[[str], None], audio_dir: Path
) -> None:
    lies(
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass",
    )
    with pytest.raises(audio.NotAudioError, match="too long to read"):
        list(audio.decode(audio_dir / "jfk.flac"))


def test_processor_time_grows_with_what_was_decoded(
    lies: Callable[[str], None], audio_dir: Path
) -> None:
    lies(
        f"""
        import resource
        for _ in range(180):
            send(messages.SAMPLES, {BLOCK})
        time.sleep(0.5)
        soft, _hard = resource.getrlimit(resource.RLIMIT_CPU)
        send(messages.NOT_AUDIO, str(soft).encode())
        """,
    )
    with pytest.raises(audio.NotAudioError, match=r"^82$"):
        list(audio.decode(audio_dir / "jfk.flac"))


def test_what_it_says_is_fit_to_be_shown(lies: Callable[[str], None], audio_dir: Path) -> None:
    lies("send(messages.NOT_AUDIO, b'\\x1b[31mred\\xff\\n' + b'x' * 10_000)")
    with pytest.raises(audio.NotAudioError) as raised:
        audio.probe(audio_dir / "jfk.flac")
    assert str(raised.value).startswith(" [31mred\ufffd xxx")
    assert len(str(raised.value)) == 500


# ---- How much


def test_no_more_is_decoded_than_was_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "two minutes.flac", silence(120.0), codec="flac")
    assert sum(map(len, audio.decode(path, max_seconds=120))) == 120 * 16_000
    with pytest.raises(audio.NotAudioError, match="longer than the 60 s allowed"):
        list(audio.decode(path, max_seconds=60))


@pytest.mark.parametrize("n_channels", [1, 2, 3, 6, 8, 9, 16, 24, 32, 33, 63, 64])
def test_any_number_of_channels_is_mixed(tmp_path: Path, n_channels: int) -> None:
    path = tmp_path / "tone.wav"
    write_wav(path, n_channels=n_channels)
    assert audio.probe(path).duration == 1.0
    [samples] = audio.decode(path)
    assert len(samples) == pytest.approx(16_000, abs=64)
    level = np.sqrt(np.mean(samples[1000:-1000].astype(float) ** 2))
    assert level > 1000


@pytest.mark.parametrize("n_channels", [65, 255])
def test_more_channels_are_refused_with_their_number(tmp_path: Path, n_channels: int) -> None:
    path = tmp_path / "tone.wav"
    write_wav(path, n_channels=n_channels)
    with pytest.raises(audio.NotAudioError, match=f"has {n_channels} channels; at most 64"):
        audio.probe(path)


def write_wav(path: Path, *, n_channels: int) -> None:
    tone = (np.sin(np.arange(44_100) / 20) * 9000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(n_channels)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(np.repeat(tone[:, None], n_channels, axis=1).tobytes())
