from django.db import migrations, models
from django.db.models import Q


def number_former_rows(apps, schema_editor):
    """Number what was done to each transcript in the order of its times, which decided what could be undone so far.

    Each edit and each accepted retranslation made a revision of its job, so none of these numbers exceeds the
    job's. Edits of one job are in the order of their ids, whatever the clocks of the web machines said. What was
    accepted before the job was run again keeps 0: its segments are gone, so it cannot be undone.
    """
    Job = apps.get_model('transcription', 'Job')
    Diarization = apps.get_model('transcription', 'Diarization')
    Edit = apps.get_model('transcription', 'Edit')
    Retranslation = apps.get_model('retranslation', 'Retranslation')

    accepted = Retranslation.objects.filter(decision='accepted', job__isnull=False, decided_at__isnull=False)
    changed = Q(pk__in=Edit.objects.values('job')) | Q(pk__in=accepted.values('job'))
    for job in Job.objects.filter(changed).only('run', 'started_at').iterator():
        done = []
        latest = None
        for pk, at in Edit.objects.filter(job=job).order_by('pk').values_list('pk', 'created_at'):
            latest = at if latest is None else max(latest, at)
            done.append((latest, Edit, pk))
        for pk, at in accepted.filter(job=job).order_by('decided_at').values_list('pk', 'decided_at'):
            if job.run == 1 or (job.started_at is not None and at >= job.started_at):
                done.append((at, Retranslation, pk))
        done.sort(key=lambda one: one[0])  # stable: edits stay in their order
        for revision, (_, model, pk) in enumerate(done, 1):
            model.objects.filter(pk=pk).update(revision=revision)
        for pk, at in Diarization.objects.filter(job=job).values_list('pk', 'created_at'):
            before = sum(one[0] < at for one in done)
            Diarization.objects.filter(pk=pk).update(revision=before)


class Migration(migrations.Migration):

    dependencies = [
        ('retranslation', '0002_indexes'),
        ('transcription', '0006_revisions'),
    ]

    operations = [
        migrations.AddField(
            model_name='retranslation',
            name='revision',
            field=models.PositiveIntegerField(default=0, help_text="The job's, which accepting it made."),
        ),
        migrations.RunPython(number_former_rows, migrations.RunPython.noop),
    ]
