"""
From a blob to a published dataset within the memory and the processor of one instance; Azurite stands outside of both.

    python -m bench._publishing CONNECTION PATH      the part that is held to the limits: prints what it needed
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import _cgroup

ROOT: Final = Path(__file__).resolve().parent.parent
NAME: Final = "bench/chats.jsonl"
SECONDS_MAX: Final = 600


@dataclass(frozen=True, slots=True)
class Published:
    wall: float  # s, imports included
    cpu: float  # s
    rss_mb: float  # the most of the process
    group_mb: float  # the most of its control group: with page cache
    rows: int


def published_within(file: Path, *, memory_mb: int, cores: float) -> Published:
    """Upload the file to an Azurite of our own, then prepare and publish it in a process with these limits. Raises CannotLimit."""
    from azure.storage.blob import BlobServiceClient

    from localcloud.azurite import Azurite

    with (
        tempfile.TemporaryDirectory(dir=file.parent) as data,
        _cgroup.limited(memory_mb=memory_mb, cores=cores) as group,
        Azurite(Path(data)) as azurite,
    ):
        service = BlobServiceClient.from_connection_string(azurite.connection_string)
        for container in ("datasets", "prepared"):
            service.create_container(container)
        with file.open("rb") as stream:
            service.get_blob_client("datasets", NAME).upload_blob(stream, max_concurrency=4)
        service.close()
        command = group.command([sys.executable, "-m", "bench._publishing", azurite.connection_string, NAME])
        began = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
        wall = time.perf_counter() - began
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            raise RuntimeError(f"exit {done.returncode}: {last}")
        said = json.loads(done.stdout.splitlines()[-1])
        return Published(wall, said["cpu"], said["rss_mb"], group.peak_mb(), said["rows"])


def main() -> None:
    """What a turn of the loop does with an upload, without the loop."""
    from bench import _contenders
    from shared import prepare
    from shared.cloud.datasets import BlobDatasets
    from shared.cloud.storage import Account
    from shared.settings import Connection

    account: Any = Account(Connection(connection_string=sys.argv[1]), None, local=True)  # type: ignore[arg-type]  # a string needs no credential
    datasets = BlobDatasets(account.container("datasets"), account.container("prepared"), datastore="prepared")
    upload = datasets.head(sys.argv[2])
    assert upload is not None
    source = prepare.Source(name=upload.path, size=upload.size, open=lambda: datasets.open(upload), etag=upload.etag)
    with tempfile.TemporaryDirectory() as folder:
        place = datasets.place("bench/attempt", "bench/manifests")
        outcome = prepare.prepare([source], place, options=prepare.Options(), workdir=Path(folder))
    if not isinstance(outcome, prepare.Prepared):
        raise TypeError(outcome.sentence)
    found = {"cpu": _contenders.cpu_seconds(), "rss_mb": _contenders.memory_mb(), "rows": outcome.report["rows"]}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
