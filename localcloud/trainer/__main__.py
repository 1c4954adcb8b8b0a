"""
The command line of the trainer: `train JOB.json`, `serve --model FOLDER --port N --ready FILE`, `base --out FOLDER`.

A failure is one sentence: the last line of stderr is {"error": {"code", "message"}}, the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from localcloud.trainer import errors, process

TERMINATED = 143  # 128 + SIGTERM, as a shell would say it


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it worked."""
    signal.signal(signal.SIGTERM, _leave)
    assert all(os.environ[name] == "1" for name in process.THREAD_SETTINGS)  # numpy comes later, inside the commands
    process.keep_memory()
    try:
        _run(_parser().parse_args(arguments))
    except errors.TrainerError as error:
        print(error.line(), file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 (the emulator needs the last line, whatever broke; messages may quote data, so only places are told)
        places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        sentence = f"The local trainer broke: {type(error).__name__} at {' < '.join(reversed(places))}."
        print(errors.TrainerError(sentence, code="SystemError").line(), file=sys.stderr, flush=True)
        return 1
    return 0


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m localcloud.trainer", description="A tiny stand-in for Azure's fine-tuning.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="fine-tune the base on a dataset")
    train.add_argument("job", type=Path, help="JSON file: inputs, train, validation, test, out, metrics, model_name, base_asset_id")
    serve = commands.add_parser("serve", help="answer POST /score with a model folder")
    serve.add_argument("--model", type=Path, required=True, help="an mlflow_model_folder")
    serve.add_argument("--port", type=int, default=0, help="0: any free port")
    serve.add_argument("--ready", type=Path, help="file that gets {port, pid} when requests are answered")
    serve.add_argument("--last-role", choices=("user", "any"), default="user", help="who may have spoken last in a question")
    serve.add_argument("--reply", choices=("output", "records", "list"), default="output", help="shape of the answer")
    base = commands.add_parser("base", help="build the base again (about two minutes)")
    base.add_argument("--out", type=Path, required=True)
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.command == "train":
        from localcloud.trainer import training

        training.run(options.job)
    elif options.command == "serve":
        from localcloud.trainer import scoring

        scoring.serve(options.model, options.port, options.ready, options.reply, any_last_role=options.last_role == "any")
    else:
        from localcloud.trainer import base_build

        base_build.build(options.out)


if __name__ == "__main__":
    sys.exit(main())
