"""
Chats in the shape of ultrachat_200k, as many as wanted, the same for the same seed on every machine.

Sizes follow the card and the measurements of the real data set: a row has 6.2 kB in the middle, 12.3 kB at 95 %, 33 kB at most; 2 to 14
messages, 5.8 on average; 37 % of the rows hold more than ASCII. Every row has a prompt, an id and messages, and is what a careful owner
would upload: nothing in it is a fault. The text is put together from word lists of our own. A style changes bytes only, never a text,
so a file of one style holds the rows of the same seed in another:

    python -m bench.chats --mb 200 --style compact chats.jsonl
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Final, Literal, get_args

Style = Literal["compact", "spaced", "escaped"]
STYLES: Final[tuple[Style, ...]] = get_args(Style)  # no blanks; as json.dumps sets them; and its default, which escapes all but ASCII

ROW_BYTES_MEDIAN: Final = 6_200  # compact
ROW_BYTES_SIGMA: Final = math.log(12_300 / 6_200) / NormalDist().inv_cdf(0.95)  # = 0.416, so that 95 % are below 12.3 kB; mean 6.8 kB
ROW_BYTES_MIN: Final = 700
ROW_BYTES_MAX: Final = 33_000
MESSAGES: Final = ((2, 0.135), (4, 0.31), (6, 0.27), (8, 0.16), (10, 0.075), (12, 0.03), (14, 0.02))  # share of the rows; mean 5.8
NON_ASCII_SHARE: Final = 0.37  # of the rows
USER_SHARE: Final = 0.18  # of a conversation's text; a guess: people ask shortly
ROW_FRAME_BYTES: Final = 150  # of a compact row beside texts: keys, id, brackets
MESSAGE_FRAME_BYTES: Final = 34
POOL_SENTENCES: Final = 20_000  # 2 MB of text; rows are cut from it at random places
SENTENCE_BYTES: Final = 100  # on average
RUN_MAX: Final = 12  # sentences that may stand in their order of the pool
BLOCK_BYTES: Final = 4 << 20  # written at once

# ------------------------------------------------------------------------------------------------------------------ words

_SUBJECTS: Final = (
    *("the gardener", "our baker", "a patient teacher", "the night nurse", "my neighbour", "the harbour master", "an old carpenter"),
    *("the trainee", "a careful reader", "the village council", "her sister", "the repair shop", "a young botanist", "the choir"),
    *("the train driver", "this small team", "the library", "every beginner", "a good translator", "the weather station", "the cook"),
)
_VERBS: Final = (
    *("measures", "plans", "repairs", "describes", "compares", "collects", "explains", "paints", "sorts", "borrows", "tests", "waters"),
    *("draws", "cleans", "records", "counts", "simplifies", "rewrites", "rehearses", "checks", "packs", "photographs", "balances"),
)
_ADJECTIVES: Final = (
    *("quiet", "wooden", "narrow", "bright", "forgotten", "seasonal", "two-page", "borrowed", "sturdy", "hand-made", "early", "local"),
    *("uneven", "spare", "blue", "monthly", "reliable", "half-finished", "simple", "coastal", "winter", "thorough", "curious", "plain"),
)
_THINGS: Final = (
    *("bookshelf", "seed list", "timetable", "bread oven", "bicycle", "budget", "rain gauge", "letter", "kitchen table", "footpath"),
    *("recipe", "stage light", "short story", "tide chart", "workbench", "greenhouse", "map of the valley", "photo album", "lesson"),
    *("spreadsheet", "small engine", "window frame", "herb bed", "poem about the sea", "questionnaire", "telescope", "water filter"),
)
_WHEN: Final = (
    *("before the first frost", "on a rainy afternoon", "once the guests have left", "during the long break", "after two careful trials"),
    *("while the kettle boils", "in less than an hour", "at the end of each month", "whenever the road is closed", "as soon as it is dry"),
)
_WHY: Final = (
    *("because small steps are easier to undo", "so that nobody has to guess later", "since the older one was lost in a move"),
    *("although it costs a little more", "which saves about twenty minutes a week", "as the instructions leave that open"),
    *("unless the measurements disagree", "and writes down what went wrong", "because the light is better there"),
)
_OPENERS: Final = (
    *("In short,", "As a first step,", "By contrast,", "Even so,", "With a little practice,", "According to the plan,", "For example,"),
    *("To begin with,", "In most cases,", "Strangely,", "If time allows,", "Looking back,"),
)
_ORDERS: Final = ("Write", "Prepare", "Sketch", "Improve", "Shorten", "Review", "Invent", "Outline", "Summarise", "Translate")
_QUESTIONS: Final = ("Can you explain why", "Does it matter that", "What changes when", "Would you say that", "How do I notice that")
_FOREIGN: Final = (
    *("Der Gärtner prüft das schmale Fenster, weil es über Nacht kühl wird.", "Übrigens gehört der größte Schlüssel zur Tür im Süden."),
    *("Le boulanger répète la leçon près de la fenêtre dès que l’été s’achève.", "Où a-t-on posé la clé de l’atelier ? Là-bas, peut-être."),
    *("El señor de la montaña revisó el cajón pequeño mañana y noche.", "¿Cuántas páginas tiene el álbum? Más de las que pensábamos."),
    *("Książka leży na półce, a żółta łódka czeka przy brzegu.", "Bahçedeki küçük çeşme öğleden sonra yeniden çalıştı."),
    *("Садовник проверяет узкую дорожку до первого снега.", "Почему библиотека закрыта, никто точно не знает."),
    *("Ο κηπουρός μετράει τη βροχή κάθε πρωί.", "البستاني يكتب قائمة البذور قبل المساء."),
    *("図書館の窓は朝になると静かに開きます。", "小さな庭で新しい種を数えました。", "정원사는 비가 오기 전에 창문을 닫았다."),
    *("我们把木头桌子搬到窗边，因为那里光线更好。", "每个月底都要检查一次水的过滤器。"),
    *("The café’s “quiet corner” – two chairs, one lamp – costs €12 an hour.", "It was 21 °C outside; the naïve forecast had said 12 ± 3."),
    *("Well done! 🎉 The tomatoes 🍅 are finally ripe.", "A thumbs-up 👍🏽 from the whole crew 👩‍🚒, see you on Monday 🚲."),
)


@dataclass(frozen=True, slots=True)
class _Text:
    """A piece of text as it stands between quotes: raw, and with everything but ASCII escaped."""

    raw: bytes
    escaped: bytes


@dataclass(frozen=True, slots=True)
class _Pool:
    """Sentences one behind the other; `raw[ends[i]:ends[j]]` are the sentences i to j - 1."""

    raw: bytes
    raw_ends: list[int]
    escaped: bytes
    escaped_ends: list[int]


def lines(*, seed: int = 1, style: Style = "compact") -> Iterator[bytes]:
    """Yield rows without an end, each with its line end. The first n rows of a seed are the same whatever is taken."""
    chance = Random(seed)
    plain, mixed = _pool(foreign=False), _pool(foreign=True)
    render = _RENDER[style]
    number = 0
    while True:
        number += 1
        pool = mixed if chance.random() < NON_ASCII_SHARE else plain
        prompt_id = hashlib.sha256(b"%d %d" % (seed, number)).hexdigest().encode()
        yield render(prompt_id, _texts(chance, number, pool, escaped=style == "escaped"))


def blocks(bytes_wanted: int, *, seed: int = 1, style: Style = "compact") -> Iterator[bytes]:
    """Yield whole lines, about 4 MiB at a time, until at least so many bytes were given."""
    given = 0
    block: list[bytes] = []
    held = 0
    for line in lines(seed=seed, style=style):
        block.append(line)
        held += len(line)
        if held >= BLOCK_BYTES or given + held >= bytes_wanted:
            yield b"".join(block)
            given, block, held = given + held, [], 0
            if given >= bytes_wanted:
                return


def rows(count: int, *, seed: int = 1, style: Style = "compact") -> list[bytes]:
    """Return so many lines, each with its end."""
    return [line for line, _ in zip(lines(seed=seed, style=style), range(count), strict=False)]


def write(path: Path, bytes_wanted: int, *, seed: int = 1, style: Style = "compact") -> None:
    with path.open("wb") as file:
        file.writelines(blocks(bytes_wanted, seed=seed, style=style))


# --------------------------------------------------------------------------------------------------------------- one row


def _texts(chance: Random, number: int, pool: _Pool, *, escaped: bool) -> list[bytes]:
    """The messages' texts as they stand between quotes; the first one is like no other, as the prompts of the real set are."""
    size = ROW_BYTES_MEDIAN * math.exp(ROW_BYTES_SIGMA * _NORMAL.inv_cdf(chance.random() or 0.5))
    count = _count_of_messages(chance.random())
    size = min(max(size, ROW_BYTES_MIN), ROW_BYTES_MAX) - ROW_FRAME_BYTES - MESSAGE_FRAME_BYTES * count
    pairs = count // 2
    asked = USER_SHARE * size / (pairs + 1)  # the first question stands in the row twice
    answered = (1 - USER_SHARE) * size / pairs
    texts = []
    for turn in range(pairs):
        opening = b"%s request %d: " % (_PLACES[number % len(_PLACES)], number) if turn == 0 else b""
        texts.append(opening + _cut(chance, pool, asked * (0.5 + chance.random()) - len(opening), escaped=escaped))
        texts.append(_cut(chance, pool, answered * (0.75 + chance.random() / 2), escaped=escaped))
    return texts


def _cut(chance: Random, pool: _Pool, size: float, *, escaped: bool) -> bytes:
    """Runs of sentences from random places, on average `size` bytes of raw text, at least one sentence; runs are paragraphs."""
    text, ends = (pool.escaped, pool.escaped_ends) if escaped else (pool.raw, pool.raw_ends)
    pieces: list[bytes] = []
    while size > SENTENCE_BYTES / 2 or not pieces:
        first = int(chance.random() * (POOL_SENTENCES - RUN_MAX))
        last = first + 1 + int(chance.random() * RUN_MAX)
        while last > first + 1 and pool.raw_ends[last] - pool.raw_ends[first] > size:
            last -= 1
        pieces.append(text[ends[first] : ends[last]])
        size -= pool.raw_ends[last] - pool.raw_ends[first]
    return b"\\n\\n".join(pieces)


def _count_of_messages(drawn: float) -> int:
    for count, share in MESSAGES:
        drawn -= share
        if drawn < 0:
            return count
    return MESSAGES[-1][0]


_NORMAL: Final = NormalDist()
_PLACES: Final = (b"Garden", b"Kitchen", b"Harbour", b"Library", b"Workshop", b"Classroom", b"Weather", b"Theatre")


def _compact(prompt_id: bytes, texts: list[bytes]) -> bytes:
    messages = b",".join(b'{"content":"%s","role":"%s"}' % (text, b"assistant" if at % 2 else b"user") for at, text in enumerate(texts))
    return b'{"prompt":"%s","prompt_id":"%s","messages":[%s]}\n' % (texts[0], prompt_id, messages)


def _spaced(prompt_id: bytes, texts: list[bytes]) -> bytes:
    messages = b", ".join(b'{"content": "%s", "role": "%s"}' % (text, b"assistant" if at % 2 else b"user") for at, text in enumerate(texts))
    return b'{"prompt": "%s", "prompt_id": "%s", "messages": [%s]}\n' % (texts[0], prompt_id, messages)


_RENDER: Final = {"compact": _compact, "spaced": _spaced, "escaped": _spaced}

# -------------------------------------------------------------------------------------------------------------- the pool


@cache
def _pool(*, foreign: bool) -> _Pool:
    chance = Random(20)
    raw, escaped = [], []
    for _ in range(POOL_SENTENCES):
        text = _text(_drawn(_FOREIGN, chance) if foreign and chance.random() < 0.15 else _sentence(chance))
        raw.append(text.raw)
        escaped.append(text.escaped)
    return _Pool(b"".join(raw), _ends(raw), b"".join(escaped), _ends(escaped))


def _text(sentence: str) -> _Text:
    spaced = sentence + " "
    return _Text(json.dumps(spaced, ensure_ascii=False)[1:-1].encode(), json.dumps(spaced)[1:-1].encode())


def _ends(pieces: Iterable[bytes]) -> list[int]:
    ends = [0]
    for piece in pieces:
        ends.append(ends[-1] + len(piece))
    return ends


def _sentence(chance: Random) -> str:
    subject, verb, thing = _drawn(_SUBJECTS, chance), _drawn(_VERBS, chance), f"{_drawn(_ADJECTIVES, chance)} {_drawn(_THINGS, chance)}"
    kind = chance.random()
    if kind < 0.35:
        return f"{subject[0].upper()}{subject[1:]} {verb} the {thing} {_drawn(_WHEN, chance)}, {_drawn(_WHY, chance)}."
    if kind < 0.60:
        return f"{_drawn(_OPENERS, chance)} {subject} {verb} the {thing} {_drawn(_WHY, chance)}."
    if kind < 0.72:
        return f"{_drawn(_QUESTIONS, chance)} {subject} {verb} the {thing} {_drawn(_WHEN, chance)}?"
    if kind < 0.82:
        return f"{_drawn(_ORDERS, chance)} two paragraphs about the {thing} {_drawn(_WHEN, chance)}."
    if kind < 0.90:
        return f'"The {thing} stays here," says {subject}, "{_drawn(_WHY, chance)}."'
    if kind < 0.96:
        return f"\n{1 + int(chance.random() * 9)}. {_drawn(_ORDERS, chance)} the {thing}: {int(chance.random() * 400)} pieces;"
    return f"\nfor item in range({int(chance.random() * 90)}):\n    total += price[item] * {int(chance.random() * 9)}  # the {thing}\n"


def _drawn(words: tuple[str, ...], chance: Random) -> str:
    return words[int(chance.random() * len(words))]  # random() alone is promised to be the same in every version of Python


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.chats", description="Write chats in the shape of ultrachat_200k.")
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--mb", type=float, default=200, help="size in millions of bytes")
    parser.add_argument("--style", choices=STYLES, default="compact")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.perf_counter()
    write(asked.out, int(asked.mb * 1e6), seed=asked.seed, style=asked.style)
    sys.stderr.write(f"{asked.out.stat().st_size:,} bytes in {time.perf_counter() - began:.1f} s\n")


if __name__ == "__main__":
    main()
