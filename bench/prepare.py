"""
How fast, how frugal and how exact the preparation of datasets is, beside what people would write or pick instead.

Every contender is a process of its own and takes its turn in each round; the best of the rounds counts, and a ratio is of one run. All
read the same generated file (bench/chats.py). "Faster" compares wall-clock time of processes on one machine, "CPU" processor time;
memory is the most that was resident. Prints a table and writes JSON. What cannot be measured here says why.

    python -m bench.prepare                    everything: about ten minutes and 6 GB of disk
    python -m bench.prepare --quick            smaller files, one round: a minute
    python -m bench.prepare --only floor,ladder
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from bench import _packages, chats

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "bench" / "results" / "prepare.json"
PACKAGES: Final = ("msgspec", "xxhash", "datasets", "pandas", "pyarrow", "azure-storage-blob")
PARTS: Final = ("floor", "ladder", "styles", "pandas", "counted", "big", "instance", "prefetch", "faults", "mutants")
COUNTED_MB: Final = 50.0
CONTENDER_SECONDS_MAX: Final = 900
CLOSE: Final = 0.15  # the loop that is written out may differ so much from the shipped one before the table says so


@dataclass(slots=True)
class Run:
    """All rounds of one contender on one file."""

    wall: list[float] = field(default_factory=list)  # s
    cpu: list[float] = field(default_factory=list)  # s
    rss_mb: float = 0.0  # the most of all rounds
    said: dict[str, Any] = field(default_factory=dict)
    missing: str = ""  # why it was not measured

    @property
    def best_wall(self) -> float:
        return min(self.wall)

    @property
    def best_cpu(self) -> float:
        return min(self.cpu)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table that is looked at."""

    measure: str
    found: str
    reach: str = ""
    aim: str = ""
    reached: bool | None = None  # None: nothing to reach, or not measured


@dataclass(slots=True)
class Bench:
    folder: Path
    small_mb: float
    big_mb: float
    rounds: int
    big_rounds: int
    mutants: int
    jobs: int
    figures: list[Figure] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def file(self, mb: float, style: chats.Style = "compact") -> Path:
        path = self.folder / f"chats-{mb:g}-{style}.jsonl"
        if not path.exists():
            say(f"writing {mb:g} MB of chats ({style})")
            chats.write(path, int(mb * 1e6), style=style)
        return path

    def measured(self, file: Path, names: Iterable[str], rounds: int) -> dict[str, Run]:
        """Each contender in each round, one after the other; nothing of other calls counts, so that all had as many chances."""
        runs = {name: Run() for name in names}
        self.runs.append({"file": file.stem, "contenders": runs})
        for at in range(rounds):
            for name, run in runs.items():
                if not run.missing:
                    say(f"{file.stem}: {name}, round {at + 1} of {rounds}")
                    self._once(file, name, run)
        return runs

    def _once(self, file: Path, name: str, run: Run) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            command = [sys.executable, "-m", "bench._contenders", name, str(file), out]
            try:
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CONTENDER_SECONDS_MAX, check=False)
            except subprocess.TimeoutExpired:
                run.missing = f"not done after {CONTENDER_SECONDS_MAX} s"
                return
        if done.returncode:
            run.missing = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:200]
            return
        said = json.loads(done.stdout.splitlines()[-1])
        run.wall.append(said["wall"])
        run.cpu.append(said["cpu"])
        run.rss_mb = max(run.rss_mb, said["rss_mb"])
        run.said = said["said"]

    def figure(self, measure: str, found: str, reach: str = "", aim: str = "", *, reached: bool | None = None) -> None:
        self.figures.append(Figure(measure, found, reach, aim, reached))

    def not_measured(self, measure: str, why: str) -> None:
        self.figure(measure, f"not measured: {why}")


def say(what: str) -> None:
    sys.stderr.write(f"[{time.strftime('%H:%M:%S')}] {what}\n")
    sys.stderr.flush()


# ------------------------------------------------------------------------------------------------------------ the measures


def floor(bench: Bench) -> None:
    """Against a parser that does nothing else."""
    file = bench.file(bench.small_mb)
    runs = bench.measured(file, ["floor", "reference", "reference_hashed", "whole", "shipped"], bench.rounds)
    if missing := _missing(runs):
        bench.not_measured("against orjson alone, CPU", missing)
        return
    floor_cpu = runs["floor"].best_cpu
    for measure, name, reach, aim in (
        ("reference rules / orjson alone, CPU", "reference", 2.5, 2.0),
        ("reference rules and SHA-256 of the files / orjson alone, CPU", "reference_hashed", 2.5, 2.0),
        ("whole rules, as shipped / orjson alone, CPU", "shipped", 3.5, 2.5),
    ):
        ratio = runs[name].best_cpu / floor_cpu
        bench.figure(measure, f"{ratio:.2f}×", f"≤ {reach}×", f"≤ {aim}×", reached=ratio <= reach)
    _hold_equal(runs["whole"], runs["shipped"])
    bench.tables["contenders, small file"] = [_row(name, run, bench.small_mb, floor_cpu) for name, run in runs.items()]


def _hold_equal(written_out: Run, shipped: Run) -> None:
    """The loop of the ladder has to be the loop that is shipped."""
    if written_out.said != shipped.said:
        raise ValueError(f"The loop of bench/_ladder.py is not the shipped one: {written_out.said} against {shipped.said}")
    if abs(written_out.best_cpu / shipped.best_cpu - 1) > CLOSE:
        say(f"the loop written out needs {written_out.best_cpu:.2f} s, the shipped one {shipped.best_cpu:.2f} s")


def ladder(bench: Bench) -> None:
    """What each rule costs: the loop with one rule more at each rung."""
    from bench import _ladder

    file = bench.file(bench.small_mb)
    names = ["floor", *(f"rung:{rule}" for rule in _ladder.RULES), "shipped"]
    runs = bench.measured(file, names, bench.rounds)
    if missing := _missing(runs):
        bench.not_measured("cost of each rule", missing)
        return
    rows = runs["floor"].said["rows"]
    floor_cpu = runs["floor"].best_cpu
    below = 0.0
    table = []
    for rule, what in [*_ladder.RULES.items(), ("", "report, manifest, progress, samples")]:
        cpu = runs[f"rung:{rule}" if rule else "shipped"].best_cpu
        table.append(
            {
                "rule": what,
                "in reference": "yes" if rule in _ladder.REFERENCE else "",
                "µs a row": f"{(cpu - below) / rows * 1e6:+.2f}",
                "of the floor": f"{(cpu - below) / floor_cpu:+.2f}",
                "up to here": f"{cpu / floor_cpu:.2f}×",
            }
        )
        below = cpu
    bench.tables[f"cost of each rule (orjson alone: {floor_cpu / rows * 1e6:.2f} µs a row)"] = table


def styles(bench: Bench) -> None:
    """The same rows as json.dumps writes them: with blanks, and with everything but ASCII escaped."""
    table = []
    for style in chats.STYLES:
        file = bench.file(bench.small_mb, style)
        runs = bench.measured(file, ["floor", "shipped"], bench.rounds)
        if missing := _missing(runs):
            bench.not_measured(f"style {style}", missing)
            continue
        ratio = runs["shipped"].best_cpu / runs["floor"].best_cpu
        if style != "compact":  # the other parts measure that
            bench.figure(f"whole rules, style {style} / orjson alone, CPU", f"{ratio:.2f}×", "≤ 3.5×", "≤ 2.5×", reached=ratio <= 3.5)
        table.append(
            {
                "style": style,
                "orjson alone": f"{runs['floor'].best_cpu:.2f} s",
                "shipped": f"{runs['shipped'].best_cpu:.2f} s",
                "ratio": f"{ratio:.2f}×",
            }
        )
    bench.tables["by style, CPU"] = table


def pandas(bench: Bench) -> None:
    """pandas.read_json, split, to_json, on the small file."""
    runs = bench.measured(bench.file(bench.small_mb), ["shipped", "pandas_way"], max(1, bench.rounds // 2))
    _against(bench, runs, "pandas_way", f"pandas.read_json way, {bench.small_mb:g} MB", reach=(10, 50), aim="15×, 1/100")


def counted(bench: Bench) -> None:
    """The cookbook's loop as it is meant, on a file that it is through with in seconds."""
    mb = min(bench.small_mb, COUNTED_MB)
    runs = bench.measured(bench.file(mb), ["shipped", "cookbook_counted"], 1)
    _against(bench, runs, "cookbook_counted", f"cookbook's load-all loop with a tokenizer, {mb:g} MB", reach=(4, 30), aim="6×")


def big(bench: Bench) -> None:
    """The file as large as the real one."""
    file = bench.file(bench.big_mb)
    runs = bench.measured(file, ["floor", "shipped", "seed_way", "seed_way_checked", "cookbook_way"], bench.big_rounds)
    size = f"{bench.big_mb:g} MB"
    _against(bench, runs, "seed_way", f"`datasets` load, split, to_json, {size}", reach=(6, 25), aim="10×, 1/50")
    _against(bench, runs, "seed_way_checked", f"the same with a filter that checks rows, {size}", reach=(6, 25), aim="10×, 1/50")
    _against(bench, runs, "cookbook_way", f"cookbook's load-all loop, {size}", reach=(4, 30), aim="6×")
    small = bench.measured(bench.file(bench.small_mb), ["shipped"], 1)
    measure = f"memory growth {bench.small_mb:g} MB to {size}"
    if missing := _missing({"big": runs["shipped"], "small": small["shipped"]}):
        bench.not_measured(measure, missing)
    else:
        growth = runs["shipped"].rss_mb - small["shipped"].rss_mb
        found = f"{growth:+.0f} MB ({small['shipped'].rss_mb:.0f} to {runs['shipped'].rss_mb:.0f})"
        bench.figure(measure, found, "≤ 40 MB", "≤ 15 MB", reached=growth <= 40)
    measured = {name: run for name, run in runs.items() if not run.missing}
    if not _missing({name: runs[name] for name in ("floor", "shipped")}):
        ratio = runs["shipped"].best_cpu / runs["floor"].best_cpu
        bench.figure(f"whole rules, as shipped / orjson alone, {size}, CPU", f"{ratio:.2f}×", "≤ 3.5×", "≤ 2.5×", reached=ratio <= 3.5)
    floor_cpu = runs["floor"].best_cpu if not runs["floor"].missing else 0.0
    bench.tables["contenders, large file"] = [_row(name, run, bench.big_mb, floor_cpu) for name, run in measured.items()]


def _against(bench: Bench, runs: dict[str, Run], name: str, measure: str, *, reach: tuple[int, int], aim: str) -> None:
    if missing := _missing({"shipped": runs["shipped"], name: runs[name]}):
        bench.not_measured(f"against {measure}", missing)
        return
    ours, theirs = runs["shipped"], runs[name]
    faster, frugal = theirs.best_wall / ours.best_wall, theirs.rss_mb / ours.rss_mb
    bench.figure(
        f"against {measure}",
        f"{faster:.1f}× faster ({theirs.best_cpu / ours.best_cpu:.1f}× CPU), 1/{frugal:.0f} memory",
        f"≥ {reach[0]}×, ≤ 1/{reach[1]}",
        f"≥ {aim}",
        reached=faster >= reach[0] and frugal >= reach[1],
    )


def instance(bench: Bench) -> None:
    """Blob to published on the smallest instance: 512 MB and a quarter of a core, storage outside of it."""
    measure = f"blob to published, {bench.big_mb:g} MB, 512 MB and 0.25 core"
    try:
        from bench import _publishing

        found = _publishing.published_within(bench.file(bench.big_mb), memory_mb=512, cores=0.25)
    except Exception as error:
        bench.not_measured(measure, f"{error}"[:200] or type(error).__name__)
        return
    done = found.wall < 60 and found.rss_mb < 200
    bench.figure(
        measure,
        f"{found.wall:.0f} s, {found.rss_mb:.0f} MB ({found.group_mb:.0f} with page cache), {found.cpu:.1f} s CPU",
        "< 60 s, < 200 MB",
        "< 45 s",
        reached=done,
    )
    bench.tables["on the smallest instance"] = [asdict(found)]


def prefetch(bench: Bench) -> None:
    """Ranges read ahead against the SDK's chunks()."""
    measure = "prefetch against chunks(), 15 ms, 60 MB/s a connection"
    try:
        from bench.prefetch import CONTENDERS as WAYS
        from bench.prefetch import prefetch_figures

        found = prefetch_figures()
    except Exception as error:
        bench.not_measured(measure, f"{error}"[:200] or type(error).__name__)
        return
    columns = ("seconds", "cpu_seconds", "memory_mb")
    bench.tables["prefetch"] = [{"way": way} | {column: found[f"{way}_{column}"] for column in columns} for way in WAYS]
    ratio = found["ratio"]
    bench.figure(measure, f"{ratio:.1f}×", "≥ 5×", "≥ 8×", reached=ratio >= 5)


def faults(bench: Bench) -> None:
    """Planted faults of every kind, through the command line: exact line and code, nothing else."""
    from bench import faults as planted

    table: list[dict[str, Any]] = []
    for seed, copies in ((1, 1), (2, 3), (3, 1), (4, 2)):
        content, sheet = planted.plant(planted.KINDS, rows=400, copies=copies, seed=seed, byte_order_mark=seed % 2 == 0)
        seen = _lines_seen(bench.folder, content)
        wanted = sheet.named()
        table.append(
            {
                "seed": seed,
                "lines": content.count(b"\n"),
                "planted": len(wanted),
                "kinds": len(planted.KINDS),
                "found": len(wanted & seen),
                "missed": sorted(wanted - seen)[:5] or "",
                "false": sorted(seen - wanted)[:5] or "",
            }
        )
    bench.tables["planted faults"] = table
    planted_count, found_count = sum(row["planted"] for row in table), sum(row["found"] for row in table)
    false = sum(bool(row["false"]) for row in table)
    bench.figure(
        "injected faults, exact line and code",
        f"{found_count:,} of {planted_count:,}, {'no' if not false else 'with'} false ones",
        "all, 0 false",
        reached=planted_count == found_count and not false,
    )


def _lines_seen(folder: Path, content: bytes) -> set[tuple[str, int]]:
    """(code, line) of everything that the report and the quarantine name; a report names the first lines of each code alone."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        file = Path(out) / "planted.jsonl"
        file.write_bytes(content)
        command = [sys.executable, "-m", "shared.prepare", str(file), "--out", f"{out}/prepared", "--json"]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=CONTENDER_SECONDS_MAX)
        report = json.loads((Path(out) / "prepared" / "report.json").read_bytes())
        quarantine = (Path(out) / "prepared" / "quarantine.jsonl").read_text(encoding="utf-8").split("\n")
    dropped = {(row["code"], row["line"]) for row in map(json.loads, filter(None, quarantine))}
    return dropped | {(code, line) for code, found in report["codes"].items() for line in found["first_lines"]}


def mutants(bench: Bench) -> None:
    """Random rows that are almost right, against a strict reference."""
    from tests.prepare import mutants as search

    began = time.perf_counter()
    found = search.searched(bench.mutants, jobs=bench.jobs, seed=int(time.time()))
    rate = bench.mutants / (time.perf_counter() - began)
    kinds = ("false accept", "false refusal", "differing code", "differing text")
    bench.figure(
        "mutants without a false accept",
        f"{bench.mutants:,}: " + ", ".join(f"{found.mistakes[kind]} {kind}s" for kind in kinds) + f" ({rate:,.0f}/s)",
        "0 of 5,000,000 in the long run",
        reached=not found.mistakes,
    )
    bench.tables["verdicts of the mutants"] = [{"verdict": code, "mutants": f"{count:,}"} for code, count in found.verdicts.most_common()]


MEASURES: Final[dict[str, Callable[[Bench], None]]] = {
    "floor": floor,
    "ladder": ladder,
    "styles": styles,
    "pandas": pandas,
    "counted": counted,
    "big": big,
    "instance": instance,
    "prefetch": prefetch,
    "faults": faults,
    "mutants": mutants,
}
assert tuple(MEASURES) == PARTS


def _missing(runs: dict[str, Run]) -> str:
    return "; ".join(f"{name}: {run.missing}" for name, run in runs.items() if run.missing)


def _row(name: str, run: Run, mb: float, floor_cpu: float) -> dict[str, Any]:
    return {
        "contender": name,
        "wall": f"{run.best_wall:.2f} s",
        "CPU": f"{run.best_cpu:.2f} s",
        "MB/s of CPU": f"{mb / run.best_cpu:,.0f}",
        "memory": f"{run.rss_mb:,.0f} MB",
        "CPU / orjson alone": f"{run.best_cpu / floor_cpu:.2f}×" if floor_cpu else "",
    }


# ------------------------------------------------------------------------------------------------------------- what is said


def machine() -> dict[str, Any]:
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {"orjson": _packages.version("orjson"), **versions},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same keys, in Markdown."""
    if not rows:
        return ""
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def printed(bench: Bench, where: dict[str, Any]) -> str:
    marks = {True: "yes", False: "no", None: ""}
    figures = [
        {"measure": one.measure, "found": one.found, "reach": one.reach, "then": one.aim, "reached": marks[one.reached]}
        for one in bench.figures
    ]
    parts = [f"{where['processor']}, {where['cores']} cores, Python {where['python']}, load {where['load'][0]}", "", table(figures)]
    for title, rows in bench.tables.items():
        parts += ["", f"{title}:", "", table(rows)]
    return "\n".join(parts) + "\n"


def as_json(bench: Bench, where: dict[str, Any]) -> str:
    found = {
        "machine": where,
        "settings": {"small_mb": bench.small_mb, "big_mb": bench.big_mb, "rounds": bench.rounds, "big_rounds": bench.big_rounds},
        "figures": [asdict(one) for one in bench.figures],
        "tables": bench.tables,
        "runs": [entry | {"contenders": {name: asdict(run) for name, run in entry["contenders"].items()}} for entry in bench.runs],
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.prepare", description="Measure the preparation of datasets.")
    parser.add_argument("--mb", type=float, default=200, help="size of the small file, in millions of bytes")
    parser.add_argument("--big-mb", type=float, default=1_400, help="size of the large file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big-rounds", type=int, default=2)
    parser.add_argument("--mutants", type=int, default=500_000)
    parser.add_argument("--jobs", type=int, default=2, help="processes of the search with mutants")
    parser.add_argument("--quick", action="store_true", help="50 MB, 100 MB, one round, 50,000 mutants")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas between: {','.join(PARTS)}")
    parser.add_argument("--data", type=Path, help="keep generated files in this folder and use what is there")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    asked = parser.parse_args()
    parts = [part for part in asked.only.split(",") if part]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}")
    if asked.quick:
        asked.mb, asked.big_mb, asked.rounds, asked.big_rounds, asked.mutants = 50, 100, 1, 1, 50_000
    folder = asked.data or Path(tempfile.mkdtemp(prefix="tuneloop-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    where = machine()
    bench = Bench(folder, asked.mb, asked.big_mb, asked.rounds, asked.big_rounds, asked.mutants, asked.jobs)
    try:
        for part in parts:
            MEASURES[part](bench)
    finally:
        if asked.data is None:
            shutil.rmtree(folder)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(as_json(bench, where), encoding="utf-8")
    sys.stdout.write(printed(bench, where))
    return 0


if __name__ == "__main__":
    sys.exit(main())
