from django.db import migrations, models


class Migration(migrations.Migration):
    """Revisions of edits and diarizations. `retranslation.0003_revisions` numbers those that are there."""

    dependencies = [
        ('transcription', '0005_indexes'),
    ]

    operations = [
        migrations.AddField(
            model_name='diarization',
            name='revision',
            field=models.PositiveIntegerField(default=0, help_text="The job's when speakers were attributed: edits up to it came before."),
        ),
        migrations.AddField(
            model_name='edit',
            name='revision',
            field=models.PositiveIntegerField(default=0, help_text="The job's, which it made."),
        ),
    ]
