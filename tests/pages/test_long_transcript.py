"""The review of three hours: 5,000 segments of ten words."""

import os
import subprocess
import sys
from uuid import uuid4

import pytest
from playwright.async_api import expect

from tests.browser import opened
from tests.service import ROOT, Service

pytestmark = pytest.mark.slow

MINUTES = 180
N_SEGMENTS = 5000
USABLE_MS = 1500
FRAME_MS = 100

ROWS = """
import sys, django
django.setup()
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from transcription.models import Chunk, Job, Recording, Segment, Stage
from transcription.recordings import folder

minutes, n_segments = int(sys.argv[2]), int(sys.argv[3])
seconds = 60.0 * minutes
recording = Recording.objects.create(id=sys.argv[1], name="long.flac", file="long.flac", size=1, duration=seconds)
for minute in range(minutes):
    default_storage.save(f"{folder(recording)}/samples-{minute:05d}.s16", ContentFile(bytes(60 * 2 * 16_000)))
    peaks = bytes((7 * n + minute) % 256 for n in range(1200))
    default_storage.save(f"{folder(recording)}/peaks-{minute:05d}.u8", ContentFile(peaks))
job = Job.objects.create(
    id=sys.argv[1], recording=recording, status="completed", model_name="tiny.en", language="en", progress=100
)
Stage.objects.create(job=job, kind="prepare", state="done")
chunk = Chunk.objects.create(
    job=job, index=0, start=0, end=seconds, streams=[], speech=[[0.0, seconds]], state="done"
)
each = seconds / n_segments
Segment.objects.bulk_create(
    Segment(
        job=job, chunk=chunk, start=n * each, end=(n + 1) * each, speaker=f"SPEAKER_{n // 3 % 4 + 1}",
        text=" ".join(f"word{n}.{m}" for m in range(10)), avg_logprob=-0.2, compression_ratio=1.2,
        words=[
            {"start": n * each + m * each / 10, "end": n * each + (m + 1) * each / 10,
             "text": f" word{n}.{m}", "probability": 0.9 if m else 0.3}
            for m in range(10)
        ],
    )
    for n in range(n_segments)
)
"""

SCROLL = """async () => {
  const gaps = [];
  let last = performance.now();
  for (let frame = 0; frame < 90; frame++) {
    window.scrollBy(0, 700);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    gaps.push(now - last);
    last = now;
  }
  return gaps.sort((a, b) => a - b);
}"""


@pytest.fixture(scope="module")
def job_id(service: Service) -> str:
    job_id = str(uuid4())
    subprocess.run(
        [sys.executable, "-c", ROWS, job_id, str(MINUTES), str(N_SEGMENTS)],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "transcriber_site.settings",
            "TRANSCRIBER_DATA_DIR": str(service.data_dir),
        },
        check=True,
    )
    return job_id


async def test_three_hours_are_usable_at_once_and_scroll_smoothly(
    service: Service, job_id: str
) -> None:
    async with opened(service.url, viewport={"width": 1280, "height": 800}) as page:
        await page.goto("/app/")  # the browser is warm, the page's own files may be there
        await page.goto(f"/app/jobs/{job_id}/", wait_until="commit")
        await page.locator("#segments .segment").first.wait_for()
        await expect(page.locator("#play")).to_be_enabled()
        usable = await page.evaluate("performance.now()")
        assert usable < USABLE_MS

        await expect(page.locator("#segments .segment")).to_have_count(N_SEGMENTS)
        gaps = await page.evaluate(SCROLL)
        assert gaps[int(0.95 * len(gaps))] < FRAME_MS, gaps[-10:]

        last = page.locator("#segments .segment").last
        await last.locator("[data-do=play]").click()
        await expect(page.locator("#now")).to_have_text("2:59:58")
        await page.keyboard.press("k")
