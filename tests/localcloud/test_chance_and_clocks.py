"""One seed repeats a run, its next start draws anew, and a manual clock only goes forward."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from localcloud import folders
from localcloud.chance import Chance
from localcloud.clocks import MANUAL_START, ManualClock

pytestmark = pytest.mark.light


def drawn(chance: Chance) -> list[object]:
    return [chance.guid(), chance.token(24), chance.random()]


def test_one_seed_draws_the_same_again():
    assert drawn(Chance(7)) == drawn(Chance(7))
    assert drawn(Chance(7)) != drawn(Chance(8))


def test_two_parts_with_one_seed_draw_apart():
    assert drawn(Chance(7)) != drawn(Chance(7, part="events"))
    assert drawn(Chance(7, part="events")) == drawn(Chance(7, part="events"))


def test_the_first_start_draws_what_the_seed_says_and_every_other_its_own():
    starts = []
    for number in (1, 2, 3):
        chance = Chance(7)
        chance.begin(number)
        starts.append(drawn(chance))

    assert starts[0] == drawn(Chance(7))
    assert len({str(one) for one in starts}) == 3


def test_without_a_seed_nothing_repeats():
    assert drawn(Chance()) != drawn(Chance())


def test_a_manual_clock_stands_until_it_is_moved_and_never_goes_back():
    clock = ManualClock()
    assert clock.move(timedelta(seconds=5)) == clock() == MANUAL_START + timedelta(seconds=5)

    with pytest.raises(ValueError, match="cannot go back"):
        clock.move(timedelta(seconds=-1))


def test_a_folder_is_held_by_one_and_free_again_afterwards(tmp_path: Path):
    with folders.hold(tmp_path / "data", "first"), pytest.raises(folders.FolderTaken, match=r"in use by process [0-9]+; stop that one"):
        folders.hold(tmp_path / "data", "second")
    folders.hold(tmp_path / "data", "third").close()
