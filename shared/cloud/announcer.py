"""What happened to a record is told in the app's log, one line a change, with stable words for machines."""

from __future__ import annotations

import logging

from shared.ports import Change

log = logging.getLogger("tuneloop.announce")


class LogAnnouncer:
    """The `Announcer` port over the log. A topic for subscribers can stand beside it."""

    def announce(self, change: Change) -> None:
        log.info(
            "%s is %s (%s). %s %s action=announced",
            change.key,
            change.stage,
            change.what,
            change.why,
            change.next_action,
        )
