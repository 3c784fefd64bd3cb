from django.urls import path

from chat import api

urlpatterns = [
    path("", api.chat, name="chat"),
    path("models", api.models, name="chat-models"),
]
