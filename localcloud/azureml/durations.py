"""Durations as Azure writes them in bodies: ISO 8601 with days, hours, minutes and seconds (PT1M30S); years and months have no length."""

from __future__ import annotations

import re

_PATTERN = re.compile(r"P(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?", re.ASCII)
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}


def seconds(text: str) -> float | None:
    """Return the length in seconds; None: the text is no duration."""
    match = _PATTERN.fullmatch(text)
    if match is None or text[-1] in "PT":
        return None
    return sum(float(match[part] or 0) * length for part, length in _SECONDS.items())
