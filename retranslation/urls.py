from django.urls import path

from retranslation import api

urlpatterns = [
    path("", api.list_retranslations, name="retranslations"),
    path("segment", api.retranslate_clip, name="retranslate-segment"),
    path("segment-from-full", api.retranslate_range, name="retranslate-segment-from-full"),
    path("suspects", api.retranslate_suspects, name="retranslate-suspects"),
    path("suspects/<str:batch_id>", api.batch_status, name="retranslate-suspects-status"),
    path("<str:retranslation_id>", api.get_retranslation, name="retranslation"),
    path("<str:retranslation_id>/accept", api.accept, name="retranslation-accept"),
    path("<str:retranslation_id>/reject", api.reject, name="retranslation-reject"),
    path("<str:retranslation_id>/undo", api.undo, name="retranslation-undo"),
]
