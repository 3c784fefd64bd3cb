"""Uploads through daphne without a copy of them in memory.

daphne builds on Twisted's HTTP request, which reads every posted form into memory to parse its
fields, although daphne never looks at them: an upload of 400 MB took 4.7 GB, and nobody else was
answered meanwhile. Django parses the form itself, as a stream.
"""

import sys
from functools import partialmethod


def keep_out_of_memory() -> None:
    """To be called as the application is loaded; does nothing under another server."""
    if "daphne.server" not in sys.modules:
        return
    from daphne import http_protocol

    http_protocol.WebRequest.__init__ = partialmethod(
        http_protocol.WebRequest.__init__, parsePOSTFormSubmission=False
    )
