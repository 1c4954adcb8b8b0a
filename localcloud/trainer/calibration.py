"""
How sure the model is of itself: one number that is set so that it fits what the model really knows.

A model that has learned its few rows by heart is as sure about conversations that it never saw, and wrong there. Dividing all
scores by one temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks") repairs that without changing which token
is the likeliest: greedy replies stay the same to the letter. The last norm's gain carries the factor, so the model folder needs
nothing new. It is found on the validation data, which are used for nothing else but the loss; the run says so as a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable

COLDEST, WARMEST = 0.5, 5.0  # temperatures that are looked at; above 5 a reply would be chance
LOOKS = 9  # losses computed; each shortens the interval to 0.62 of itself, in logarithms: 2.3 -> 0.03 after nine
GOLDEN = (math.sqrt(5) - 1) / 2


def best_temperature(loss: Callable[[float], float]) -> float:
    """The temperature with the least loss, by golden-section search: the loss has one valley in 1 / temperature."""
    low, high = math.log(COLDEST), math.log(WARMEST)
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = loss(math.exp(left)), loss(math.exp(right))
    for _ in range(LOOKS - 2):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = loss(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = loss(math.exp(right))
    return math.exp((low + high) / 2)
