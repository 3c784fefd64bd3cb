"""The pages: upload and the list of jobs, and the review of one. Server-rendered, on the services of the API."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def app(request: HttpRequest) -> HttpResponse:
    """Upload, and the jobs below."""
    return render(request, "transcription/app.html")


def review(request: HttpRequest, job_id: str) -> HttpResponse:
    """One job: its transcript, to be heard and put right."""
    return render(request, "transcription/review.html", {"job_id": job_id})
