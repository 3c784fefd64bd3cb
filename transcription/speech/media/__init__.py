"""Decoding of uploaded files in a process of their own, which can do no harm whatever the file makes of it."""
