"""
A log line is a sentence for people that ends in `action=word`, a stable word for machines, in every sink the same.

Azure's own loggers are kept at WARNING: at INFO they dump every request. No token, key or dataset text is ever logged.
"""

from __future__ import annotations

import logging

QUIET = ("azure", "urllib3", "httpx", "msal")
VERY_QUIET = (
    "azure.ai.ml._utils._experimental",  # six warnings at every import about classes that we do not use
    "azure.eventgrid._legacy._generated._serialization",  # a warning a call for each time limit that is passed along (4.22.1)
)


def set_up() -> None:
    logging.getLogger("tuneloop").setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in VERY_QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
