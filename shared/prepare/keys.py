"""
A set of 64-bit hashes that needs 21 to 25 bytes a key where `set` needs 89.

A byte map answers most questions: a slot that was never marked proves the key new. Only when the slot is taken is the small array
looked through in which the key would lie. Both grow with the keys, so an answer costs about the same at any size.
"""

from __future__ import annotations

from array import array
from typing import Final

SLOTS_A_KEY_MIN: Final = 8  # one new key in eight at most finds its slot taken by another and looks through an array
KEYS_AN_ARRAY: Final = 32  # on average, when they are dealt out anew; with 256, looking through them took half the time of all
FIRST_SLOTS: Final = 1 << 16
FIRST_ARRAYS: Final = 1 << 10
KEY_BITS: Final = 64


class KeySet:
    """Keys are equally distributed integers from 0 to 2^64 - 1, as a hash yields them."""

    def __init__(self) -> None:
        self._count = 0
        self._slots = bytearray(FIRST_SLOTS)
        self._last_slot = FIRST_SLOTS - 1
        self._arrays = [array("Q") for _ in range(FIRST_ARRAYS)]
        self._shift = KEY_BITS - FIRST_ARRAYS.bit_length() + 1
        self._grows_at = FIRST_SLOTS // SLOTS_A_KEY_MIN

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: int) -> bool:
        return bool(self._slots[key & self._last_slot]) and key in self._arrays[key >> self._shift]

    def add(self, key: int) -> bool:
        """Return True if the key is new."""
        slot = key & self._last_slot
        keys = self._arrays[key >> self._shift]
        if self._slots[slot]:
            if key in keys:
                return False
        else:
            self._slots[slot] = 1
        keys.append(key)
        self._count += 1
        if self._count == self._grows_at:
            self._grow()
        return True

    def _grow(self) -> None:
        slots = len(self._slots) * 2
        self._grows_at = slots // SLOTS_A_KEY_MIN
        self._last_slot = slots - 1
        self._slots = bytearray(slots)
        if self._count > KEYS_AN_ARRAY * len(self._arrays):
            self._deal_out(len(self._arrays) * 4)
        for keys in self._arrays:
            for key in keys:
                self._slots[key & self._last_slot] = 1

    def _deal_out(self, count: int) -> None:
        dealt = [array("Q") for _ in range(count)]
        self._shift = KEY_BITS - count.bit_length() + 1
        for keys in self._arrays:
            for key in keys:
                dealt[key >> self._shift].append(key)
        self._arrays = dealt
