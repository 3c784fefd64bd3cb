"""Backups: the database, the recordings, the settings without secrets, and a manifest with checksums.

A folder of backups holds a folder for each, named by its time (UTC), and each is whole by itself: what has not changed
since the last one is a hard link to it. A backup is written to a folder with another name, which is renamed last, so
one that was interrupted is never taken for a backup.

The database is copied first, then the files. Files are written before the rows that name them, and never changed
afterwards: whatever the copied rows name was there when they were copied. The other way round, a recording uploaded
in between would be a row whose file is in no backup. What comes with this order does no harm:

- A file that no copied row names, written meanwhile: the service deletes it a day after it is restored.
- A row whose files were deleted meanwhile, with a recording: the manifest names it, and `restore` deletes it too.
- A piece of samples that was just being written: no row says yet that it is there, and the work that writes it is done
  again after the restore, which replaces a piece of another size.
"""
