"""The whole local cloud as one command: it starts, tells where it is, restarts a part, and leaves nothing behind."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from localcloud import azurite, listeners, ports, processes, up
from tests.localcloud.hosts import ROOT, WITHIN_S, family, until

APP = """
import os
from pathlib import Path
import azure.functions as func

app = func.FunctionApp()

@app.event_grid_trigger(arg_name="event")
def dataset_event_received(event: func.EventGridEvent) -> None:
    with open(os.environ["OUT"], "a") as file:
        file.write(event.subject + " " + os.environ["DATASETS"][:8] + "\\n")
"""


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `up` in tmp_path on a sample app, with a data folder of that name; whatever it started is gone after the test."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(source: str = APP, *options: str, data: str = "data") -> subprocess.Popen[bytes]:
        app = tmp_path / "app"
        app.mkdir(exist_ok=True)
        (app / "function_app.py").write_text(source)
        values = {"DATASETS": "UseDevelopmentStorage=true", "OUT": "overwritten by --set"}
        (app / "local.settings.json.example").write_text(json.dumps({"Values": values}))
        command = [sys.executable, "-m", "localcloud", "up", "--data", str(tmp_path / data), "--app", str(app), "--ports", "auto"]
        command += ["--set", f"OUT={tmp_path / data}.out", *options]
        started.append(processes.start(command, log=tmp_path / f"{data}.log", environment=environment, cwd=tmp_path))
        return started[-1]

    try:
        azurite.find()
    except azurite.AzuriteMissing as error:
        pytest.skip(str(error))
    yield start
    for one in started:
        one.terminate()
        one.wait(timeout=30)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which this test listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


def state(tmp_path: Path, data: str = "data") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / data / "state.json").read_text())
    return found


def ready(tmp_path: Path, process: subprocess.Popen[bytes], data: str = "data") -> dict[str, Any]:
    log = tmp_path / f"{data}.log"
    processes.wait_ready("up", process, (tmp_path / data / "state.json").exists, within_s=3 * WITHIN_S, log=log)
    return state(tmp_path, data)


def upload(running: dict[str, Any], name: str) -> None:
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(running["settings"]["DATASETS"]) as service:
        service.get_blob_client("datasets", name).upload_blob(b"{}")


def restart(tmp_path: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "localcloud", "restart", name, "--data", str(tmp_path / "data")]
    return subprocess.run(command, cwd=ROOT, timeout=60, check=False, capture_output=True, text=True)


def guard_of(process: subprocess.Popen[bytes]) -> int:
    (guard,) = [pid for pid in family(process.pid) if b"localcloud.guard" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return guard


def said(tmp_path: Path, sentence: str) -> bool:
    return sentence in (tmp_path / "data.log").read_text()


@pytest.mark.slow
def test_up_starts_everything_and_stops_everything(start_up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    process = start_up(APP, "--traffic", "traffic.jsonl")
    running = ready(tmp_path, process)
    assert set(running) == {"azurite", "azureml", "functions", "settings"}
    exported, _ = up.read_env(tmp_path / "data/env")
    assert f"https://localhost:{running['azureml']['port']}/" in exported["ARM_CLOUD_METADATA_URL"]

    # An upload is told to the app.
    upload(running, "a.jsonl")
    out = tmp_path / "data.out"
    until(out.exists, "the event of the upload")
    assert out.read_text() == "/blobServices/default/containers/datasets/blobs/a.jsonl DefaultE\n"

    # An option of the emulator came to it, with a file that is named from here.
    until((tmp_path / "traffic.jsonl").exists, "traffic")

    # Nothing can be reached from another machine.
    everyone = family(process.pid)
    listening = listeners.of(everyone)
    known = {*running["azurite"]["ports"].values(), running["azureml"]["port"], running["functions"]["port"]}
    assert {one.address for one in listening} == {"127.0.0.1"}
    assert {one.port for one in listening} == known

    process.terminate()

    assert process.wait(timeout=30) == 0
    assert not [pid for pid in everyone if processes.alive(pid)]
    assert not (tmp_path / "data/state.json").exists()


@pytest.mark.slow
def test_whatever_is_killed_is_named_and_comes_back(start_up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """Each part; then one that `restart` started, the guard, and `up` itself. Then nothing is left running."""
    process = start_up()
    pids = {name: ready(tmp_path, process)[name]["pid"] for name in up.NAMES}
    seen = set(pids.values())
    for name in (*up.NAMES, "functions"):
        before = state(tmp_path)
        how = "was killed by signal 9." if before[name]["pid"] in pids.values() else "ended."  # only a parent learns how
        lost = f" {up.FORGETFUL}" if name == "azurite" else ""
        os.kill(before[name]["pid"], signal.SIGKILL)
        sentence = f"{name} {how}{lost} Start it again with: python -m localcloud restart {name} --data {tmp_path / 'data'}"
        until(partial(said, tmp_path, sentence), sentence)
        assert restart(tmp_path, name).returncode == 0
        after = state(tmp_path)
        assert after[name]["pid"] not in seen
        assert after[name]["port"] == before[name]["port"]
        seen.add(after[name]["pid"])

    mourned = (tmp_path / "data.log").read_text().count("functions ended")
    assert restart(tmp_path, "functions").returncode == 0  # of one that lives: nobody needs to be told
    seen.add(state(tmp_path)["functions"]["pid"])

    os.kill(guard_of(process), signal.SIGKILL)
    until(partial(said, tmp_path, "The guard, which clears away if `up` is killed, was killed by signal 9."), "word of the guard")
    assert (tmp_path / "data.log").read_text().count("functions ended") == mourned
    upload(state(tmp_path), "a.jsonl")
    until((tmp_path / "data.out").exists, "the event of an upload after all that")

    everyone = family(process.pid, *seen)
    process.kill()  # the new guard sees to the rest
    process.wait()
    until(lambda: not [pid for pid in everyone if processes.alive(pid)], "the guard to clear away")
    until(lambda: not (tmp_path / "data/state.json").exists(), "the state file to go")


@pytest.mark.light
def test_what_up_and_its_guard_left_behind_is_ended_by_the_next_up(tmp_path: Path, taken: int) -> None:
    """Method: the record of an `up` that is gone, and a process for each part; the next `up` clears away, then finds a port taken."""
    left = {name: subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for name in up.NAMES}
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    data = tmp_path / "data"
    parts = {name: up.Part(name=name, command=[], ports=[0], cwd="", pid=p.pid, began=processes.began(p.pid)) for name, p in left.items()}
    up.Record(data, data / "state.json", gone.pid, "long ago", parts).write()

    command = [sys.executable, "-m", "localcloud", "up", "--data", str(data), f"--port=azureml={taken}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 4
    assert [one.wait(timeout=0) for one in left.values()] == [-signal.SIGTERM] * 3
    said = [f"Stopping {name} (pid {left[name].pid}), left behind by a local cloud that was killed." for name in reversed(up.NAMES)]
    assert ended.stdout.splitlines()[:3] == said


@pytest.mark.light
def test_two_restarts_at_once_do_not_lose_each_others_process(tmp_path: Path) -> None:
    parts = {name: up.Part(name=name, command=[], ports=[1, 2, 3], cwd="", pid=1) for name in up.NAMES}
    record = up.Record(tmp_path, tmp_path / "state.json", 0, None, parts)
    record.write()
    code = (
        "import sys, pathlib; from localcloud import up; r = up.Record.read(pathlib.Path(sys.argv[1]));"
        "p = r.parts[sys.argv[2]]\nfor pid in range(100): p.pid = pid; r.replace(p)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], cwd=ROOT) for name in ("azurite", "functions")]
    assert [one.wait(timeout=30) for one in both] == [0, 0]

    assert {name: part.pid for name, part in up.Record.read(tmp_path).parts.items()} == {"azurite": 99, "azureml": 1, "functions": 99}


@pytest.mark.slow
def test_two_clouds_run_side_by_side_and_a_third_is_refused(start_up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """Goal: neither sees the other's uploads. The third wants the folder of the first and a port of the second."""
    one, two = start_up(), start_up(data="other")
    first, second = ready(tmp_path, one), ready(tmp_path, two, "other")
    upload(first, "first.jsonl")
    upload(second, "second.jsonl")
    outs = tmp_path / "data.out", tmp_path / "other.out"
    until(lambda: all(out.exists() for out in outs), "both events")
    assert [out.read_text().split()[0].rpartition("/")[2] for out in outs] == ["first.jsonl", "second.jsonl"]

    wishes = [f"--port=azureml={second['azureml']['port']}", f"--port=blob={first['azurite']['port']}"]
    with_its_ports = start_up(APP, *wishes, data="third")
    assert with_its_ports.wait(timeout=WITHIN_S) == 4
    said = (tmp_path / "third.log").read_text()
    assert f"Port {first['azurite']['port']} (Azurite blobs) is taken by Azurite on {tmp_path / 'data/azurite'} (pid " in said
    assert f"; port {second['azureml']['port']} (Azure ML) is taken by azureml of the local cloud on {tmp_path / 'other'} (pid " in said
    assert "up --port NAME=PORT" in said
    on_its_folder = start_up()
    assert on_its_folder.wait(timeout=WITHIN_S) == 4
    assert f"A local cloud already runs on {tmp_path / 'data'} (pid {one.pid})." in (tmp_path / "data.log").read_text()

    one.terminate()
    one.wait(timeout=30)
    assert [name for name in up.NAMES if processes.alive(second[name]["pid"])] == list(up.NAMES)


@pytest.mark.slow
def test_an_app_without_functions_ends_up_with_its_reason(start_up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    process = start_up(APP + "\nimport a_module_that_is_missing\n")

    assert process.wait(timeout=3 * WITHIN_S) == 1
    assert "No module named 'a_module_that_is_missing'" in (tmp_path / "data.log").read_text()
    assert not (tmp_path / "data/state.json").exists()


@pytest.mark.light
@pytest.mark.parametrize(
    ("command", "title", "others"),
    [
        (["azurite", "--blob-port"], "Azurite blobs", "--blob-port"),
        (["azureml", "--port"], "Azure ML", "--port takes another"),
        (["functions", "--port"], "functions host", "--port takes another"),
    ],
)
def test_each_part_alone_names_a_taken_port_and_who_listens(
    tmp_path: Path, taken: int, command: list[str], title: str, others: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "localcloud", *command, str(taken), "--data", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert ended.returncode == 4
    assert f"Port {taken} ({title}) is taken by " in ended.stdout + ended.stderr
    assert f"(pid {os.getpid()}). Stop what listens there" in ended.stdout + ended.stderr
    assert others in ended.stdout + ended.stderr


def test_azurite_alone_takes_any_free_ports_where_it_is_told_0(tmp_path: Path) -> None:
    ports_of_0 = ["--blob-port", "0", "--queue-port", "0", "--table-port", "0"]
    command = [sys.executable, "-m", "localcloud", "azurite", *ports_of_0, "--data", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as alone:
        try:
            assert alone.stdout is not None
            found = re.findall(r"Endpoint=http://127\.0\.0\.1:([0-9]+)/", alone.stdout.readline())
            assert [processes.accepts(int(port)) for port in found] == [True] * 3
        finally:
            alone.send_signal(signal.SIGINT)


@pytest.mark.light
def test_a_port_that_was_taken_after_the_check_is_named_too(tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: start a part whose port is taken, as if nobody had looked before; what answers there is not the part."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    part = up.Part(name="azurite", command=command, ports=[taken, taken, taken], cwd=str(tmp_path))
    assert processes.accepts(taken)

    monkeypatch.setitem(up.READY_WITHIN_S, "azurite", 0.5)
    with pytest.raises(processes.StartFailed) as refused:
        up.start_part(part, tmp_path)

    assert refused.value.exit_code == 4
    assert f"Port {taken} (Azurite tables) is taken by " in str(refused.value)
    assert not processes.alive(part.pid)


@pytest.mark.light
def test_ports_are_fixed_free_or_chosen_by_name() -> None:
    assert list(ports.Ports.chosen("fixed", {"azureml": 9443}).by_name().values()) == [10000, 10001, 10002, 9443, 7071]
    free = ports.Ports.chosen("auto", {"blob": 12345}).by_name()
    assert free["blob"] == 12345
    assert len(set(free.values())) == 5
    assert ports.Ports.chosen("fixed", {"functions": 0}).functions not in (0, 7071)


@pytest.mark.light
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--port", "azurml=9443"], "'azurml=9443' names no port; the names are blob, queue, table, azureml, functions"),
        (["--port", "azureml=https"], "'azureml=https' has no number from 0 to 65535"),
        (["--port", "azureml=65536"], "no number from 0 to 65535"),
        (["--port", "azureml=7071"], "azureml and functions cannot both have port 7071. Write --port functions=PORT with another."),
        (["--metric-grian", "1"], "unrecognized arguments: --metric-grian 1"),
        (["--metric-grain", "fine"], "argument --metric-grain: invalid int value: 'fine'"),
    ],
)
def test_a_wrong_option_of_up_starts_nothing(tmp_path: Path, words: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "localcloud", "up", "--data", str(tmp_path / "data"), *words]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, sentence in ended.stdout + ended.stderr) == (2, True)
    assert not (tmp_path / "data").exists()


@pytest.mark.light
@pytest.mark.parametrize("words", [["up", "--ports", "auto"], ["azurite"], ["functions", "--auth", "on", "--port", "0"]])
def test_a_data_folder_that_cannot_be_is_one_sentence(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "function_app.py").write_text("import azure.functions as func\n\napp = func.FunctionApp()\n")
    command = [sys.executable, "-m", "localcloud", *words, "--data", str(tmp_path / "file" / "data")]
    if words[0] == "functions":
        command += ["--app", str(tmp_path)]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    said = ended.stdout + ended.stderr
    assert (ended.returncode in {1, 2}, "Not a directory" in said, "Traceback" in said) == (True, True, False), said


@pytest.mark.light
def test_two_azurites_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second would write over the index of the first."""
    with processes.hold(tmp_path / up.LOCK):  # type: ignore[union-attr] # it is free
        command = [sys.executable, "-m", "localcloud", "azurite", "--data", str(tmp_path)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, "is used by `up` or by another Azurite" in ended.stdout) == (4, True)


@pytest.mark.light
def test_what_belongs_to_the_emulators_world_is_handed_on_as_it_is() -> None:
    words = [
        "--world",
        "seed",
        "--nodes",
        "2",
        "--pace=0.5",
        "--datastore",
        "a=b",
        "--func",
        "--datastore=c=d",
        "--set",
        "X=--nodes",
        "--trainer",
        "a b",
    ]

    assert up.handed_on(words) == ["--world", "seed", "--nodes", "2", "--datastore", "a=b", "--datastore=c=d", "--trainer", "a b"]


@pytest.mark.light
def test_no_option_of_the_emulators_world_has_the_name_of_one_of_up() -> None:
    """argparse refuses two of one name."""
    parser = argparse.ArgumentParser()
    up.add_arguments(parser)

    up.add_handed_on_arguments(parser)

    assert "--trainer" in parser.format_help()


@pytest.mark.light
@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("https://localhost:8443/msi/token", "https://localhost:4/msi/token"),
        ("http://127.0.0.1:7071/x", "http://127.0.0.1:5/x"),
        ("http://127.0.0.1:10000/a http://127.0.0.1:100001", "http://127.0.0.1:1/a http://127.0.0.1:100001"),
        ("https://example.com:8443/", "https://example.com:8443/"),
    ],
)
def test_settings_are_aimed_at_the_ports_in_use(value: str, moved: str) -> None:
    used = ports.Ports(azurite=azurite.Ports(blob=1, queue=2, table=3), azureml=4, functions=5)

    assert up.relocate(value, used) == moved


@pytest.mark.light
def test_the_env_file_keeps_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "env"
    up.write_env(file, {"A": "it's; $HOME", "B": ""}, ["C"])

    assert up.read_env(file) == ({"A": "it's; $HOME", "B": ""}, ["C"])
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.light
def test_subscriptions_of_a_persons_own_are_aimed_at_the_ports_in_use_or_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "subscriptions.json"
    mine = {"name": "people", "topic": "tuneloop", "eventDeliverySchema": "CloudEventSchemaV1_0", "endpoint": "http://127.0.0.1:7071/x"}
    file.write_text(json.dumps([mine]))
    used = ports.Ports(functions=5)

    assert up.subscribed(file, used) == [{**mine, "endpoint": "http://127.0.0.1:5/x"}]
    assert [one["name"] for one in up.subscribed(None, used)] == ["uploads-blob", "uploads-event", "runs"]
    file.write_text(json.dumps([{**mine, "pace": 2}]))
    with pytest.raises(processes.StartFailed, match="A subscription has no pace; known are"):
        up.subscribed(file, used)
