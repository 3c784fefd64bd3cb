import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('summaries', '0001_summaries'),
        ('transcription', '0005_indexes'),
    ]

    operations = [
        # Not AlterField alone: on SQLite that copies the table.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    'DROP INDEX IF EXISTS "summaries_summary_transcription_id_07c58da0"',
                    'CREATE INDEX "summaries_summary_transcription_id_07c58da0" ON "summaries_summary" ("transcription_id")',
                ),
            ],
            state_operations=[
                migrations.AlterField(
                    model_name='summary',
                    name='transcription',
                    field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='summaries', to='transcription.job'),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name='summary',
            index=models.Index(fields=['transcription', 'finished_at'], name='summaries_s_transcr_323c96_idx'),
        ),
    ]
