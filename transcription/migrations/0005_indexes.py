import django.db.models.deletion
from django.db import migrations, models


def without_index(model, name, field, *, column, index):
    """The field without its index. Not AlterField: on SQLite that copies the table, and there may be millions of segments."""
    create = f'CREATE INDEX "{index}" ON "transcription_{model}" ("{column}")'
    return migrations.SeparateDatabaseAndState(
        database_operations=[migrations.RunSQL(f'DROP INDEX IF EXISTS "{index}"', create)],
        state_operations=[migrations.AlterField(model_name=model, name=name, field=field)],
    )


def job_without_index(model, related_name, *, index):
    field = models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name=related_name, to='transcription.job')
    return without_index(model, 'job', field, column='job_id', index=index)


class Migration(migrations.Migration):

    dependencies = [
        ('transcription', '0004_workers'),
    ]

    operations = [
        job_without_index('stage', 'stages', index='transcription_stage_job_id_c5cfaa76'),
        job_without_index('chunk', 'chunks', index='transcription_chunk_job_id_cdceadc8'),
        job_without_index('segment', 'segments', index='transcription_segment_job_id_d10db315'),
        without_index(
            'job',
            'updated_at',
            models.DateTimeField(auto_now=True),
            column='updated_at',
            index='transcription_job_updated_at_4bad54b1',
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['-created_at', '-id'], name='transcripti_created_afc9a4_idx'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['finished_at'], name='transcripti_finishe_16cd31_idx'),
        ),
        migrations.AddIndex(
            model_name='recording',
            index=models.Index(fields=['-created_at', '-id'], name='transcripti_created_81e3d5_idx'),
        ),
    ]
