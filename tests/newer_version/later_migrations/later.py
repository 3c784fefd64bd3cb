"""What no present worker knows: each segment must say who transcribed it. The database gives no default."""

import pkgutil

from django.db import migrations, models

from transcription import migrations as present

LATEST = max(module.name for module in pkgutil.iter_modules(present.__path__))


class Migration(migrations.Migration):
    dependencies = [("transcription", LATEST)]

    operations = [
        migrations.AddField(
            "segment",
            "transcribed_by",
            models.CharField(max_length=20, default="an earlier version"),
        ),
    ]
