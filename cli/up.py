"""
Start the local cloud and the app, keep them running, and say how to upload, call and look.

Writes local.settings.json from the example, with absolute paths, so that `func start` finds the same cloud.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from cli.cloud import HOME, ROOT, TOPIC, CloudFailed, Running, Started, clean_environment

LOOK_EVERY_S = 1.0
OWN_HOST = "--own-host"  # even where Core Tools is installed


def main(arguments: list[str] | None = None) -> int:
    """Stay until Ctrl-C. 0 stopped on request, 1 something ended, 4 a port is taken or something is missing."""
    clean_environment()
    signal.signal(signal.SIGTERM, _interrupt)
    settings = write_settings(ROOT / "local.settings.json.example", ROOT / "local.settings.json")
    passed = [*(sys.argv[1:] if arguments is None else arguments), "--settings", str(settings)]
    if OWN_HOST in passed:
        passed.remove(OWN_HOST)
    elif shutil.which("func") and "--func" not in passed:
        passed.append("--func")
        _use_this_environment()
    cloud = Started(HOME, passed)
    try:
        sys.stdout.write("Starting the local cloud and the app on this machine.\n")
        with cloud as running:
            sys.stdout.write(how_to(running))
            sys.stdout.flush()
            while cloud.alive():
                time.sleep(LOOK_EVERY_S)
        sys.stdout.write(f"The local cloud ended by itself. Its log: {cloud.log}\n")
        return 1
    except CloudFailed as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stdout.write("\nStopped.\n")
        return 0


def _use_this_environment() -> None:
    """Let `func start` find the packages of this virtual environment; it takes the Python that is first on the PATH."""
    os.environ["VIRTUAL_ENV"] = sys.prefix
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def write_settings(example: Path, target: Path) -> Path:
    """Write local.settings.json from the example with absolute paths; one that a person changed is kept."""
    if not target.exists():
        document = json.loads(example.read_text("utf-8"))
        document["Values"]["REQUESTS_CA_BUNDLE"] = str(HOME / "ca-bundle.pem")
        target.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return target


def how_to(running: Running) -> str:
    connection = running.settings["DATASETS"]
    return f"""
Running. Ctrl-C stops everything. Logs: {running.functions_log.parent}

Upload:  az storage blob upload --connection-string "$(grep -o "DATASETS='[^']*" {running.data / "env"} | cut -d"'" -f2)" \\
           -c datasets -n my-service/chats.jsonl -f examples/support-bot.jsonl
         or any storage tool with this connection string (Azurite's public key, not a secret):
         {connection}
Watch:   tail -f {running.functions_log}
Look:    curl --cacert {running.ca} {running.azureml}/_localcloud/state
Told:    curl --cacert {running.ca} {running.azureml}/_localcloud/topics/{TOPIC}
Call:    curl --cacert {running.ca} -H "Authorization: Bearer $(python3 dev.py token)" -H 'Content-Type: application/json' \\
           -d '{{"input_data":{{"input_string":[{{"role":"user","content":"Hello"}}]}}}}' {running.azureml}/endpoints/<name>/score
"""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
