"""
Which rows are held out follows from their first user message and a salt, and from nothing else.

So rows with the same prompt stand on one side, whatever their order; a prompt stays where it was when the dataset is uploaded
again with more rows. Prompts are ordered by their hash: the smallest hashes are tested on, the next validate, the rest train.
A large file is cut at a fixed hash. In a small one that would be chance (with 10 % held out, no row at all in 28 of 100 files
of 12 rows), so there the hashes are counted off instead, and each side gets what it needs at least. What was tested on may
so become a row that validates when a small file grows, hardly ever one that trains: validation lies in between.

A prompt that begins a large part of all rows trains, whatever its hash: held out, it would leave little to train on.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from shared.prepare.options import Options
from shared.prepare.source import SIDES, Side

KEY_SPACE: Final = 1 << 64  # odds of one clash among 208,000 prompts 1e-9, and then two prompts only share their side
ROWS_COUNTED_OFF_MAX: Final = 1_000  # a guess: above it a 10 % share is off by more than a third once in 3,000 files (3.5 sigma)

RULING_SHARE_MIN: Final = 0.05  # a guess: of the rows; a prompt with fewer takes little from training
RULING_SIDES: Final = 2  # as many rows as so many of the larger held-out side

SideOf = Callable[[int], Side]


def salt_bytes(salt: str) -> bytes:
    return b"\0" + salt.encode()


def at_fixed_hash(options: Options, given: Collection[Side]) -> SideOf:
    """From a row's key to its side. `given`: sides that have a file of their own and take no rows from here."""
    test_below = 0 if "test" in given else int(options.test_share * KEY_SPACE)
    validation_below = test_below + (0 if "validation" in given else int(options.validation_share * KEY_SPACE))

    def side(key: int) -> Side:
        if key >= validation_below:
            return "train"
        return "test" if key < test_below else "validation"

    return side


def fixed_cut_will_do(keys: array[int], rows: Mapping[Side, int], options: Options, given: Collection[Side]) -> bool:
    """Of the rows that were cut so. `rows`: of each side."""
    if len(keys) <= ROWS_COUNTED_OFF_MAX or not enough(rows, options, given):
        return False
    if all(rows[side] <= _ruling_rows(len(keys), options, given) for side in _cut_here(given)):
        return True
    at_hash = at_fixed_hash(options, given)
    return all(at_hash(key) == "train" for key in ruling(keys, options, given))


def sides(keys: array[int], options: Options, given: Collection[Side]) -> SideOf | None:
    """From a row's key to its side; None when no cut gives each side its rows."""
    at_hash = at_fixed_hash(options, given)
    trains = ruling(keys, options, given)

    def at_hash_but_for_ruling(key: int) -> Side:
        return "train" if key in trains else at_hash(key)

    if len(keys) > ROWS_COUNTED_OFF_MAX and enough(Counter(map(at_hash_but_for_ruling, keys)), options, given):
        return at_hash_but_for_ruling
    sizes = Counter(keys)
    by_hash = sorted(sizes.keys() - trains)
    by_size = sorted(sizes, key=lambda key: (sizes[key], key))
    shares = _wanted(len(keys), options, given)
    minimum = _wanted(0, options, given)
    # When few prompts rule the file, the share of the first side may leave nothing for the next: then the least, smallest first.
    return _counted_off(by_hash, sizes, shares, options, given) or _counted_off(by_size, sizes, minimum, options, given)


def ruling(keys: array[int], options: Options, given: Collection[Side]) -> frozenset[int]:
    """
    The prompts that would fill a held-out side several times. Found as Misra and Gries do: whoever has more than one row in n outlasts
    n - 1 counters, so memory does not grow with the prompts.
    """
    least = _ruling_rows(len(keys), options, given)
    counters: dict[int, int] = {}
    for key in keys:
        if key in counters:
            counters[key] += 1
        elif len(counters) < 1 / RULING_SHARE_MIN:
            counters[key] = 1
        else:
            counters = {other: count - 1 for other, count in counters.items() if count > 1}
    return frozenset(key for key in counters if keys.count(key) > least)


def _ruling_rows(rows: int, options: Options, given: Collection[Side]) -> float:
    """A prompt with more rows rules."""
    return max(RULING_SHARE_MIN * rows, RULING_SIDES * max(_wanted(rows, options, given).values()))


def _wanted(rows: int, options: Options, given: Collection[Side]) -> dict[Side, int]:
    """Rows to hold out of so many, at least what a side needs; 0 for a side that has files of its own."""
    wanted: dict[Side, int] = {
        "test": max(options.rows_min.test, round(options.test_share * rows)),
        "validation": max(options.rows_min.validation, round(options.validation_share * rows)),
    }
    return {side: count if side in _cut_here(given) else 0 for side, count in wanted.items()}


def _cut_here(given: Collection[Side]) -> list[Side]:
    """The sides that are held out of the rows, test first."""
    return [side for side in reversed(SIDES) if side != "train" and side not in given]


def enough(rows: Mapping[Side, int], options: Options, given: Collection[Side]) -> bool:
    """Whether each side that is cut here has its rows."""
    return all(rows.get(side, 0) >= least for side, least in zip(SIDES, options.rows_min.all, strict=True) if side not in given)


def _counted_off(
    order: Iterable[int], sizes: Counter[int], wanted: Mapping[Side, int], options: Options, given: Collection[Side]
) -> SideOf | None:
    """Prompts go to the test side until it has what is wanted, then to validation; a prompt that would take too much trains."""
    held_out: dict[int, Side] = {}
    filled: Counter[Side] = Counter()
    spare = sizes.total() - options.rows_min.train
    reserves: tuple[tuple[Side, int], ...] = (("test", min(options.rows_min.validation, wanted["validation"])), ("validation", 0))
    for side, reserved in reserves:
        for key in order:
            if filled[side] >= wanted[side]:
                break
            if key not in held_out and sizes[key] <= spare - reserved:
                held_out[key] = side
                filled[side] += sizes[key]
                spare -= sizes[key]
    filled["train"] = sizes.total() - filled.total()
    return (lambda key: held_out.get(key, "train")) if enough(filled, options, given) else None
