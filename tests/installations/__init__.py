"""Installations of earlier versions, as archives of their data folders, for tests/site/test_earlier_versions.py.

`python -m tests.installations.making NAME` makes one of the present version. Name it by what the next version brings.
"""
