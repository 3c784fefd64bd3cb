from django.db import migrations, models
from django.db.models import F


def put_times_in_order(apps, schema_editor):
    """Former versions let no such rows arise either, as far as is known: nothing depends on their exact times."""
    Segment = apps.get_model('transcription', 'Segment')
    Segment.objects.filter(start__lt=0).update(start=0)
    Segment.objects.filter(end__lt=F('start')).update(end=F('start'))


class AddConstraintUnlessItCopies(migrations.AddConstraint):
    """Adds no constraint to a table of SQLite with rows: that copies it, and there may be millions of segments.

    The code keeps to it all the same (`speech/invariants.py`), and the next copy of the table has it.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        segments = to_state.apps.get_model(app_label, self.model_name).objects
        if schema_editor.connection.vendor != 'sqlite' or not segments.exists():
            super().database_forwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):

    dependencies = [
        ('transcription', '0007_channels'),
    ]

    operations = [
        migrations.RunPython(put_times_in_order, migrations.RunPython.noop),
        AddConstraintUnlessItCopies(
            model_name='segment',
            constraint=models.CheckConstraint(condition=models.Q(('end__gte', models.F('start')), ('start__gte', 0)), name='segment_ends_after_it_starts'),
        ),
    ]
