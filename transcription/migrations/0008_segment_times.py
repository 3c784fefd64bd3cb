from django.db import migrations, models
from django.db.models import F


def put_times_in_order(apps, schema_editor):
    """Former versions let no such rows arise either, as far as is known: nothing depends on their exact times."""
    Segment = apps.get_model('transcription', 'Segment')
    Segment.objects.filter(start__lt=0).update(start=0)
    Segment.objects.filter(end__lt=F('start')).update(end=F('start'))


class Migration(migrations.Migration):

    dependencies = [
        ('transcription', '0007_channels'),
    ]

    operations = [
        migrations.RunPython(put_times_in_order, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name='segment',
            constraint=models.CheckConstraint(condition=models.Q(('end__gte', models.F('start')), ('start__gte', 0)), name='segment_ends_after_it_starts'),
        ),
    ]
