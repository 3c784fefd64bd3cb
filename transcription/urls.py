from django.urls import path

from transcription import api, pages

urlpatterns = [
    path("", api.start, name="transcribe"),
    path("models", api.models, name="transcription-models"),
    path("jobs", api.list_jobs, name="transcription-jobs"),
    path("status/<str:job_id>", api.job_status, name="transcription-status"),
    path("result/<str:job_id>", api.result, name="transcription-result"),
    path("diarize/<str:job_id>", api.diarize, name="transcription-diarize"),
    path("suspects/<str:job_id>", api.list_suspects, name="transcription-suspects"),
    path("debug/<str:job_id>", api.debug, name="transcription-debug"),
]

page_urlpatterns = [
    path("", pages.app, name="app"),
    path("jobs/<str:job_id>/", pages.review, name="review"),
]
