"""
Stands in for the trainer in tests of the emulator: the same two commands and files, no numpy, obedient to what its inputs say.

The training rows' first message tells it what to do: "wait" waits for ever, "fail" ends with an error line, anything else trains.
"""

import json
import os
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MLMODEL = """\
flavors:
  hftransformersv2: {task_type: chat-completion, model_data: data}
  python_function: {loader_module: azureml.evaluate.mlflow.hftransformers, data: data, env: conda.yaml}
"""


def train(job_file: str) -> int:
    job = json.loads(Path(job_file).read_text())
    wish = json.loads(Path(job["train"]).read_text().splitlines()[0])["messages"][0]["content"]
    log(job, 0, 2.5)
    print("training with", len(job["inputs"]), "inputs", flush=True)
    if wish == "wait":
        while True:
            time.sleep(60)
    if wish == "fail":
        print(json.dumps({"error": {"code": "UserError", "message": "No assistant tokens found after preprocessing."}}), file=sys.stderr)
        return 1
    log(job, 10, 1.25)
    write_model(Path(job["out"] + ".tmp"), reply="broken" if wish == "break" else "hello")
    Path(job["out"] + ".tmp").rename(job["out"])
    return 0


def log(job: dict[str, Any], step: int, loss: float) -> None:
    with Path(job["metrics"]).open("a") as file:
        line = {"name": "eval_loss", "value": loss, "step": step, "timestamp_ms": int(time.time() * 1000)}
        file.write(json.dumps(line) + "\n" + json.dumps({"param": "learning_rate", "value": "5e-06"}) + "\n")


def write_model(folder: Path, reply: str) -> None:
    model = folder / "data" / "model"
    model.mkdir(parents=True)
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "conda.yaml").write_text("dependencies: []\n")
    (model / "config.json").write_text("{}")
    (model / "tokenizer.json").write_text(json.dumps({"reply": reply}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0\0\0")


def serve(arguments: list[str]) -> int:
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    reply = json.loads((Path(given["--model"]) / "data/model/tokenizer.json").read_text())["reply"]
    if reply == "broken":
        print(json.dumps({"error": {"code": "BadArgument", "message": "The weights do not load."}}), file=sys.stderr)
        return 1

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body == {"input_data": "dawdle"}:
                time.sleep(1)
            status = 500 if body == {"input_data": "explode"} else 200
            text = f"{reply} from {Path.cwd().name}"
            content = json.dumps(
                {"records": [{"0": text}], "list": [text], "output": {"output": text}}[given.get("--reply", "output")]
            ).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", int(given["--port"])), Handler)
    fresh = Path(given["--ready"] + ".tmp")
    fresh.write_text(json.dumps({"port": server.server_address[1], "pid": os.getpid()}))
    fresh.rename(given["--ready"])
    print("ready", flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(train(sys.argv[2]) if sys.argv[1] == "train" else serve(sys.argv[2:]))
