"""The page that an owner reads: the verdict first, every fault with its line, and nothing on it that a dataset could bring to life."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Mapping
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.prepare import page, report_shape
from tests.prepare import reports

ROOT = Path(page.__file__).parents[2]
CSS = Path(page.__file__).with_name("page.css").read_text("utf-8")
BOTH = pytest.mark.parametrize("report", [reports.accepted(), reports.rejected()], ids=["accepted", "rejected"])
VOID = {"meta", "rect"}  # have no end: rect closes itself
WITHIN_A_LINE = {"a", "bdi", "code", "i", "small", "span", "strong"}
HARMLESS = WITHIN_A_LINE | {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "article"),
    *("h1", "h2", "h3", "p", "ol", "ul", "li", "dl", "dt", "dd", "div"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "rect"),
}


class Reader(HTMLParser):
    """Reads a page as a browser would, and keeps what a person sees apart from what the browser is told."""

    def __init__(self, html: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.headings: list[tuple[int, str]] = []
        self.title = self.style = self.text = ""
        self.other: list[str] = []  # comments, declarations, processing instructions
        self._open: list[str] = []
        self.feed(html.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))
        if tag not in WITHIN_A_LINE:
            self.text += " "
        if tag not in VOID:
            self._open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["title"]:
            self.title += data
        elif self._open[-1:] == ["style"]:
            self.style += data
        else:
            self.text += data
            if any(re.fullmatch("h[1-6]", tag) for tag in self._open):
                level, said = self.headings[-1]
                self.headings[-1] = (level, said + data)

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    def handle_decl(self, decl: str) -> None:
        self.other.append(decl)

    def handle_pi(self, data: str) -> None:
        self.other.append(data)

    def unknown_decl(self, data: str) -> None:
        self.other.append(data)

    @property
    def said(self) -> str:
        """What is read, blanks made one."""
        return " ".join(self.text.split())

    def values(self, attribute: str) -> list[str | None]:
        return [value for _, attributes in self.tags for name, value in attributes if name == attribute]


def read(report: Mapping[str, Any]) -> Reader:
    return Reader(page.html(report))


# ------------------------------------------------------------------------------------------------------- what a person reads


@BOTH
def test_the_verdict_and_its_reason_come_before_everything_else(report):
    found = read(report)
    word = report["verdict"].capitalize()

    assert found.headings[0] == (1, f"{'✕' if word == 'Rejected' else '✓'} {word}")
    assert found.title == f"{word}: {report['files'][0]['name']}{' and 1 more' if len(report['files']) == 2 else ''}"
    assert found.said.index(report["sentence"]) < found.said.index("What to fix") < found.said.index("What was found")


def test_what_to_fix_stands_in_the_order_of_the_report():
    report = reports.rejected()
    found = read(report).said
    places = [found.index(sentence) for sentence in report["what_to_fix"]]

    assert places == sorted(places)


def test_an_upload_without_a_fault_is_told_so():
    found = read(reports.accepted() | {"codes": {}}).said

    assert "What to fix Nothing has to be fixed." in found
    assert "What was found Nothing: every row is as it should be." in found


def test_the_worst_is_shown_first_and_then_the_most_frequent():
    order = [said for level, said in read(reports.accepted()).headings if level == 3][:4]

    assert order == ["dup_content dropped", "bad_json dropped", "trailing_user repaired", "unknown_key noted"]


def test_each_kind_of_fault_is_named_with_its_lines_its_remedy_and_its_excerpts():
    found = read(reports.accepted()).said
    bad_json = found[found.index("bad_json dropped Lines") : found.index("trailing_user repaired Lines")]

    assert bad_json == (
        "bad_json dropped Lines 3, 77, 1,190 and 1 more are not valid JSON. Write each conversation as one JSON object on one line. "
        """lines 3, 77, 1,190 and 1 more line 3 {"messages":[{"role":"user","content":"Where is my order """
        "line 77 {'messages': [{'role': 'user', 'content': 'Hello'}]} "
    )


def test_lines_of_several_files_are_named_file_by_file():
    found = read(reports.rejected()).said

    assert "questions.csv: rows 2, 5 answers.parquet: row 6 and 8 more" in found
    assert "questions.csv, row 2 <script>alert(1)</script>" in found


def test_excerpts_that_are_switched_off_leave_no_trace():
    report = reports.accepted()
    for finding in report["codes"].values():
        for first in finding["first"]:
            first["excerpt"] = None

    assert "excerpts" not in read(report).values("class")


def test_repairs_are_listed():
    assert "What was repaired 2 rows: Lines 500 and 612 end with a question; the last turn was left out." in read(reports.accepted()).said


def test_the_place_of_what_was_left_out_is_named():
    assert "14 rows. All are in quarantine.jsonl, in the folder of this page" in read(reports.accepted()).said
    assert "12 rows. The first 10 are in quarantine.jsonl" in read(reports.rejected()).said


def test_splits_are_shown_with_rows_share_and_size():
    assert "train 960 80.7 % 6.5 MB validation 112 9.4 % 754.1 kB test 118 9.9 % 802.3 kB" in read(reports.accepted()).said


def test_an_upload_of_which_nothing_could_be_read_gets_a_page_too():
    report = reports.rejected() | {"rows": 0, "accepted": 0, "bad": 0, "unit": "line", "quarantine": {"rows": 0, "written": 0}}
    report["files"] = [report["files"][0] | {"rows": 0, "shapes": {}, "side": None}]
    report["codes"] = {"empty_file": report["codes"]["too_many_bad"]}
    report |= {"lengths": {"unit": "bytes", "buckets": [], "longest": 0, "total": 0}, "roles": {"messages": {}, "patterns": []}}
    report["tokens"] |= {"estimate": 0, "low": 0, "high": 0}
    report_shape.check(report)
    headings = [said for level, said in read(report).headings if level == 2]

    assert headings == ["What to fix", "What was found", "What was repaired", "What was left out", "File", "To get the same again"]
    assert "empty_file fatal the file" in read(report).said


def test_a_rejected_upload_shows_neither_a_split_nor_a_price():
    headings = [said for _, said in read(reports.rejected()).headings]

    assert "How it was split" not in headings
    assert "One epoch" not in headings


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        ("assumed", "The characters of a token were assumed, not measured on this text"),
        ("sampled", "The characters of a token were measured on a sample of these rows"),
        ("exact", "Every row was counted with the tokenizer that was given."),
    ],
)
def test_an_estimate_says_what_of_it_is_assumed_and_a_count_that_it_is_one(basis, said):
    report = reports.accepted()
    report["tokens"]["basis"] = basis
    found = read(report).said

    assert said in found
    assert ("1,911,507 tokens in all rows" in found) == (basis == "exact")
    assert ("About 1,910,000 tokens in all rows" in found and "between 1,720,000 and 2,100,000" in found) == (basis != "exact")


def test_steps_are_listed_by_the_size_of_the_batch():
    assert "Rows in a batch, over all devices Steps 1 960 8 120 16 60" in read(reports.accepted()).said


def test_the_lengths_are_drawn_without_the_empty_ones_at_both_ends():
    found = read(reports.accepted())
    table = found.said[found.said.index("Bytes, up to") : found.said.index("Who speaks")]
    widths = [
        int(dict(attributes)["width"] or 0) for tag, attributes in found.tags if tag == "rect" and ("class", "is-length") in attributes
    ]

    assert table.split(" Share ")[1] == (
        "512 3 0.3 % 1,024 41 3.4 % 2,048 118 9.9 % 4,096 263 22.1 % 8,192 514 43.2 % 16,384 239 20.1 % 32,768 12 1.0 % "
    )
    assert widths == [5, 79, 229, 511, 1000, 464, 23]


def test_what_makes_the_same_files_again_is_on_the_page():
    report = reports.accepted()
    found = read(report).said.split("To get the same again")[1]

    for fact in (
        "0.1.0",
        "version 2",
        "schema 1",
        "at most 1 %",
        "0x8DCA1B2C3D4E5F6",
        *(one["sha256"] for one in report["splits"].values()),
    ):
        assert fact in found


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 0, "0 %"),
        (0, 9, "0 %"),
        (1, 3, "33.3 %"),
        (1, 2, "50.0 %"),
        (9, 9, "100 %"),
        (1, 10**9, "< 0.1 %"),
        (10**9 - 1, 10**9, "> 99.9 %"),
    ],
)
def test_a_share_is_never_rounded_to_none_or_to_all(part, whole, said):
    assert page.share(part, whole) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1_250, "1.3 kB"), (1_397_058_554, "1.4 GB"), (5 * 10**15, "5,000.0 TB")],
)
def test_sizes_are_in_units_that_people_use(value, said):
    assert page.size(value) == said


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ("user assistant", "user, assistant"),
        ("user assistant user assistant", "user and assistant 2 times"),
        ("system user assistant user assistant", "system, then user and assistant 2 times"),
        ("user user assistant", "user, user, assistant"),
        ("", ""),
    ],
)
def test_an_order_of_roles_is_said_in_words(roles, said):
    assert page._words(roles) == said


# ------------------------------------------------------------------------------------------------------- what a browser is told


@BOTH
def test_the_page_has_no_script_and_loads_nothing(report):
    found = read(report)
    tags = {tag for tag, _ in found.tags}
    attributes = {name for _, attributes in found.tags for name, _ in attributes}

    assert tags <= HARMLESS
    assert not [name for name in attributes if name.startswith("on")]
    assert not attributes & {"src", "srcset", "style", "action", "formaction", "data", "background", "poster", "ping", "xlink:href"}
    assert all(value and re.fullmatch(r"#finding-\d+", value) for value in found.values("href"))
    assert not re.search(r"url\(|@import|image-set|\\", found.style)
    assert found.other == ["DOCTYPE html"]


@BOTH
def test_only_the_style_that_is_on_the_page_is_allowed(report):
    found = read(report)
    digest = base64.b64encode(hashlib.sha256(found.style.encode()).digest()).decode()
    policies = [dict(attributes)["content"] for tag, attributes in found.tags if ("http-equiv", "Content-Security-Policy") in attributes]

    assert len([tag for tag, _ in found.tags if tag == "style"]) == 1
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert [name for name, _ in found.tags].index("style") > found.tags.index(
        ("meta", (("charset", "utf-8"),))
    ) + 1  # the policy is before it


@BOTH
def test_nobody_learns_from_where_a_reader_came(report):
    assert ("meta", (("name", "referrer"), ("content", "no-referrer"))) in read(report).tags


@BOTH
def test_headings_make_an_outline_and_links_lead_to_something_on_the_page(report):
    found = read(report)
    levels = [level for level, _ in found.headings]
    ids = found.values("id")

    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(ids) == len(set(ids))
    assert {str(value)[1:] for value in found.values("href")} | set(found.values("aria-labelledby")) <= set(ids)


@BOTH
def test_every_picture_is_said_in_words_or_is_beside_them(report):
    pictures = [dict(attributes) for tag, attributes in read(report).tags if tag == "svg"]

    assert len(pictures) >= 3
    assert all(bool(picture.get("aria-label")) != (picture.get("aria-hidden") == "true") for picture in pictures)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


TEXT_ON = {
    "paper": ("ink", "quiet", "link"), "panel": ("ink", "quiet"), "good-paper": ("good", "ink"), "bad-paper": ("bad", "ink"),
    "warn-paper": ("warn",), "note-paper": ("note",),
}  # fmt: skip


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_and_pictures_have_the_contrast_that_wcag_asks_for(mode):
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[mode]))
    pairs = [(ink, paper, 4.5) for paper, inks in TEXT_ON.items() for ink in inks]
    pairs += [(part, "paper", 3.0) for part in ("one", "two", "three", "other")]
    weak = []
    for ink, paper, least in pairs:
        dark, light = sorted(luminance(colours[name]) for name in (ink, paper))
        if (light + 0.05) / (dark + 0.05) < least:
            weak.append((ink, paper))

    assert weak == []


# ------------------------------------------------------------------------------------------------------- texts of strangers

HOSTILE = (
    *("<script>alert(1)</script>", "</style>", "</title>", "</svg>", "-->", "<!--", "]]>", "<![CDATA[", "<?", "&lt;", "&#60;", "&"),
    *('"', "'", '" onmouseover="x', "' style='x", "`", "=", ">", "<", "/>", "{{ 7 * 7 }}", "{% raw %}", "{#", "javascript:x", "</bdi>"),
    *("\u202e", "\u2066", "\u200f", "\u061c", "\0", "\r\n", "\x1b[31m", "\x85", "\u2028", "\ufeff", "\ud800", "\uffff", "\U000e0041"),
)
texts = st.lists(st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=()), max_size=8), min_size=1, max_size=6).map(
    lambda parts: "".join(parts) or "x"
)


def with_text(report: dict[str, Any], text: str) -> dict[str, Any]:
    """The report with the text in every place that has one, in values and in keys."""
    report |= {"sentence": text, "what_to_fix": [text, text], "tool_version": text}
    for file in report["files"]:
        file |= {"name": text, "format": text, "etag": text, "shapes": {text: 1}, "notes": [text]}
    for finding in report["codes"].values():
        finding |= {"what": text, "remedy": text, "sentence": text}
        for first in finding["first"]:
            first |= {"file": text, "excerpt": text}
    report["codes"] = {f"{at}{text}": finding for at, finding in enumerate(report["codes"].values())}
    for side in report["splits"].values():
        side["sha256"] = text
    report["roles"]["messages"] |= {f"x{text}": 1}
    for pattern in report["roles"]["patterns"]:
        pattern["roles"] = f"x{''.join(text.split())}"
    report["cost_basis"]["steps_per_epoch"] = {f"1{text}": 1}
    return report


PLAIN = {make: read(with_text(make(), "x")).tags for make in (reports.accepted, reports.rejected)}


@given(texts)
@example("".join(HOSTILE))
def test_no_text_of_an_upload_becomes_markup_and_all_of_it_is_readable(text):
    for make, tags in PLAIN.items():
        found = read(with_text(make(), text))

        assert found.tags == tags
        assert found.other == ["DOCTYPE html"]
        assert page.visible(text) in found.text


EXPLICIT = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(texts)
@example("".join(HOSTILE))
def test_no_character_that_controls_or_turns_the_reading_direction_is_on_the_page(text):
    written = page.html(with_text(reports.rejected(), text)).decode()
    controls = {one for one in written if unicodedata.category(one) in ("Cc", "Cs") or unicodedata.bidirectional(one) in EXPLICIT}

    assert controls == {"\n"}
    assert not set(written) & set("\u061c\u200e\u200f\u200b\u2028\u2029\ufeff\ufffe\uffff")


def test_characters_that_cannot_be_seen_are_written_out():
    assert page.visible("a\u202egpj.exe\0\r\n\tb\ud800") == "a⟨U+202E⟩gpj.exe⟨U+0000⟩⟨U+000D⟩↵⇥b⟨U+D800⟩"
    assert page.visible("Zażółć می\u200cخواهم 👩\u200d💻") == "Zażółć می\u200cخواهم 👩\u200d💻"


def test_no_template_lets_a_value_past_the_escaping():
    text = Path(page.__file__).with_name("page.html").read_text("utf-8")

    assert not re.search(r"\|\s*safe|autoescape|Markup", text)


# ------------------------------------------------------------------------------------------------------- the same bytes

# After a wanted change of the page put here what the test says. On all Pythons alike: tests marked light run on each.
SHA256 = {
    "accepted": "aac17fd4ee5ebb7eabda977726ad355e87c4d9bdcf854af5fd69117837105b56",
    "rejected": "c890417e53430e67a40484aef7ff4525ba20cdbba11c1b4eb2f51cf23a6f0958",
}


@pytest.mark.parametrize("name", SHA256)
def test_a_report_gives_the_same_bytes_on_every_python(name):
    assert hashlib.sha256(page.html(getattr(reports, name)())).hexdigest() == SHA256[name]


def test_the_order_of_keys_in_the_report_does_not_show():
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(one) for one in value] if isinstance(value, list) else value

    assert page.html(turned(reports.accepted())) == page.html(reports.accepted())


ASKED = """
import sys
from shared.prepare import page
from tests.prepare import reports
assert "jinja2" not in sys.modules
sys.stdout.buffer.write(page.html(reports.accepted()))
"""


def test_another_process_elsewhere_writes_the_same_page_and_importing_it_loads_no_template_engine(tmp_path):
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, "-c", ASKED], cwd=tmp_path, env=environment, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout == page.html(reports.accepted())


def test_template_and_style_are_deployed_with_the_code():
    patterns = [line.rstrip("/") for line in (ROOT / ".funcignore").read_text("utf-8").splitlines() if line and line[0] not in "#!"]
    for name in ("page.html", "page.css"):
        parts = ("shared", "prepare", name)

        assert ROOT.joinpath(*parts).is_file()
        assert not [pattern for pattern in patterns if any(fnmatch(part, pattern) for part in parts)]


# ------------------------------------------------------------------------------------------------------- the shape


@BOTH
def test_a_report_of_the_documented_shape_passes(report):
    assert report_shape.check(report).verdict == report["verdict"]


def test_a_field_that_is_missing_unknown_or_of_another_type_is_named():
    wrong = reports.accepted()
    del wrong["codes"]["bad_json"]["first"][1]["line"]
    with pytest.raises(report_shape.ReportIsWrong, match=r"missing required field `line` - at `\$\.codes\[\.\.\.\]\.first\[1\]`"):
        report_shape.check(wrong)
    with pytest.raises(report_shape.ReportIsWrong, match="unknown field `seconds`"):
        report_shape.check(reports.accepted() | {"seconds": 1})
    with pytest.raises(report_shape.ReportIsWrong, match=r"Expected `int` >= 0 - at `\$\.rows`"):
        page.html(reports.accepted() | {"rows": -1})


CONTRADICTIONS: list[tuple[str, dict[str, Any]]] = [
    ("verdict is accepted, but splits holds 0 files. accepted is not what the splits have together.", {"splits": {}}),
    ("verdict is rejected, but splits holds 3 files.", {"verdict": "rejected", "what_to_fix": ["Mend it."]}),
    ("verdict is rejected, but what_to_fix is empty.", {"verdict": "rejected", "splits": {}}),
    ("accepted and bad together are more than rows.", {"bad": 15}),
    ("rows is not what the files have together.", {"rows": 1_205}),
    ("accepted is not what the splits have together.", {"accepted": 1_189}),
    ("lengths.buckets do not rise.", {"lengths": {"unit": "bytes", "buckets": [[2, 1], [2, 1]], "longest": 2, "total": 4}}),
    ("quarantine.written is more than quarantine.rows.", {"quarantine": {"rows": 1, "written": 2}}),
    ("tokens.estimate is outside of its band.", {"tokens": reports.accepted()["tokens"] | {"low": 2_000_000}}),
    ("verdict is accepted, but codes holds a fatal bad_json.", {"codes": {"bad_json": reports.rejected()["codes"]["too_many_bad"]}}),
]


@pytest.mark.parametrize(("sentence", "change"), CONTRADICTIONS, ids=[sentence for sentence, _ in CONTRADICTIONS])
def test_a_report_that_contradicts_itself_is_refused_with_a_sentence(sentence, change):
    with pytest.raises(report_shape.ReportIsWrong) as refused:
        report_shape.check(reports.accepted() | change)

    assert str(refused.value) == sentence


def test_every_part_of_the_report_has_its_table_in_the_docs():
    text = (ROOT / "docs" / "report.md").read_text("utf-8")

    assert sorted(re.findall(r"<!-- table: ([a-z-]+) -->", text)) == sorted(report_shape.PARTS)


def test_every_struct_of_the_shape_is_one_of_its_parts():
    structs = {value for value in vars(report_shape).values() if isinstance(value, type) and issubclass(value, msgspec.Struct)}

    assert structs - {msgspec.Struct} == set(report_shape.PARTS.values())
