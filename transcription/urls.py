from django.urls import path

from transcription import api, pages, playback
from transcription.editing import api as editing_api
from transcription.sharing import api as sharing_api
from transcription.sharing import pages as sharing_pages

urlpatterns = [
    path("", api.start, name="transcribe"),
    path("models", api.models, name="transcription-models"),
    path("jobs", api.list_jobs, name="transcription-jobs"),
    path("jobs/<str:job_id>", api.delete, name="transcription-delete"),
    path("cancel/<str:job_id>", api.cancel, name="transcription-cancel"),
    path("status/<str:job_id>", api.job_status, name="transcription-status"),
    path("result/<str:job_id>", api.result, name="transcription-result"),
    path("export/<str:job_id>", api.export, name="transcription-export"),
    path("diarize/<str:job_id>", api.diarize, name="transcription-diarize"),
    path("suspects/<str:job_id>", api.list_suspects, name="transcription-suspects"),
    path("segments/<int:segment_id>", editing_api.segment, name="segment"),
    path("segments/<int:segment_id>/split", editing_api.split, name="segment-split"),
    path("segments/<int:segment_id>/merge", editing_api.merge, name="segment-merge"),
    path("speakers/<str:job_id>", editing_api.rename_speaker, name="rename-speaker"),
    path("edits/<str:job_id>", editing_api.list_edits, name="edits"),
    path("edits/<str:job_id>/<int:edit_id>/undo", editing_api.undo, name="undo-edit"),
    path("shares/<str:job_id>", sharing_api.shares, name="shares"),
    path("shares/<str:job_id>/<int:share_id>", sharing_api.share, name="share"),
    path("links/<str:job_id>", sharing_api.share_links, name="share-links"),
    path("links/<str:job_id>/<uuid:link_id>", sharing_api.share_link, name="share-link"),
    path("debug/<str:job_id>", api.debug, name="transcription-debug"),
]

page_urlpatterns = [
    path("", pages.app, name="app"),
    path("models", pages.downloadable_models, name="app-models"),
    path("jobs/<str:job_id>/", pages.review, name="review"),
    path("jobs/<str:job_id>/row", pages.job_row, name="job-row"),
    path("jobs/<str:job_id>/retry", pages.retry, name="retry-job"),
    path("jobs/<str:job_id>/cancel", pages.cancel, name="cancel-job"),
    path("jobs/<str:job_id>/delete", pages.delete, name="delete-job"),
    path("jobs/<str:job_id>/audio", playback.audio, name="audio"),
    path("jobs/<str:job_id>/peaks", playback.peaks, name="peaks"),
    path("jobs/<str:job_id>/playable", playback.playable, name="playable"),
    path("shared/<str:token>", sharing_pages.open_link, name="shared"),
]
