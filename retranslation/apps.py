from django.apps import AppConfig


class RetranslationConfig(AppConfig):
    name = "retranslation"
    verbose_name = "Retranslation"
    default_auto_field = "django.db.models.BigAutoField"
