"""Makes the README's pictures from the service as it runs: `make screenshots`."""

import asyncio
import tempfile
from pathlib import Path

from tests.browser import opened
from tests.service import ROOT, Service

PICTURES = ROOT / "docs"
AUDIO = ROOT / "tests" / "audio"
SIZE = {"width": 1280, "height": 800}


async def take(service: Service) -> None:
    service.finished(service.upload(AUDIO / "jfk.flac", model_name="tiny.en"))
    job_id = service.upload(
        AUDIO / "conversation" / "sample.flac", model_name="base", diarize="true"
    )
    service.finished(job_id)
    async with opened(service.url, viewport=SIZE) as page:
        await page.goto("/app/")
        await page.screenshot(path=PICTURES / "upload.png")
        await page.goto(f"/app/jobs/{job_id}/?t=8")
        await page.wait_for_load_state("networkidle")
        await page.screenshot(path=PICTURES / "review.png")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder)) as service:
        asyncio.run(take(service))


if __name__ == "__main__":
    main()
