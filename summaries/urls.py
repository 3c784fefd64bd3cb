from django.urls import path

from summaries import api

urlpatterns = [
    path("", api.start, name="summarize"),
    path("status/<str:job_id>", api.summary_status, name="summary-status"),
    path("<str:job_id>", api.result, name="summary-result"),
]
