from django.urls import path

from retranslation import api

urlpatterns = [
    path("", api.list_retranslations, name="retranslations"),
    path("segment", api.segment, name="retranslate-segment"),
    path("segment-from-full", api.segment_from_full, name="retranslate-segment-from-full"),
    path("suspects", api.suspects, name="retranslate-suspects"),
    path("suspects/<str:batch_id>", api.batch_status, name="retranslate-suspects-status"),
    path("<str:retranslation_id>", api.retranslation, name="retranslation"),
    path("<str:retranslation_id>/accept", api.accept, name="retranslation-accept"),
    path("<str:retranslation_id>/reject", api.reject, name="retranslation-reject"),
    path("<str:retranslation_id>/undo", api.undo, name="retranslation-undo"),
]
