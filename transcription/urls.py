from django.urls import path

from transcription import api

urlpatterns = [
    path("", api.start, name="transcribe"),
    path("models", api.models, name="transcription-models"),
    path("jobs", api.list_jobs, name="transcription-jobs"),
    path("status/<job_id>", api.job_status, name="transcription-status"),
    path("result/<job_id>", api.result, name="transcription-result"),
    path("debug/<job_id>", api.debug, name="transcription-debug"),
]
