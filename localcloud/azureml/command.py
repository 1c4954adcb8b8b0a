"""
`python -m localcloud azureml`: read the arguments, make certificates, write the environment file, serve until told to stop.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shlex
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud import ports
from localcloud.chance import Chance
from localcloud.clocks import ManualClock, system

if TYPE_CHECKING:
    import socket

    from localcloud.azureml.cloud import Options

# Azurite's account and key are public and the same everywhere (Azurite's README).
AZURITE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
)
DATASETS = "datasets"  # the container whose new blobs are events
WRONG_OPTION_EXIT = 2
LOG = logging.getLogger("localcloud.azureml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the emulator can be told."""
    parser.add_argument("--data", type=Path, default=Path(".localcloud"), help="folder for certificates, jobs and models")
    parser.add_argument("--port", type=ports.number, default=8443, help="HTTPS port on 127.0.0.1; 0 takes any that is free")
    parser.add_argument("--env", type=Path, help="write the environment of an unmodified client to this file")
    parser.add_argument("--storage", default=AZURITE, help="connection string of the storage account (default: Azurite's)")
    parser.add_argument("--events", action="store_true", help="deliver events to their subscribers")
    parser.add_argument("--subscriptions", type=Path, help="JSON list of subscriptions (default: the functions host at 7071)")
    parser.add_argument("--pace", type=float, default=1.0, help="factor on every waiting time of event delivery; 0.01 is quick")
    add_world_arguments(parser)


def add_world_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what its world is like. `up` hands these on as they are, so none may have the name of an option of `up`."""
    world = parser.add_argument_group("the world of the Azure ML emulator")
    world.add_argument("--world", default="today", metavar="NAME_OR_FILE", help="today, seed, or a JSON file (default: today)")
    world.add_argument("--datastore", action="append", default=[], metavar="NAME=CONTAINER", help="one more datastore")
    world.add_argument("--topic", action="append", default=[], metavar="NAME=SCHEMA", help="one more topic: alerts=EventGridSchema, say")
    world.add_argument("--spread", type=float, default=0.0, metavar="PART", help="randomise event retries: 0.2 is up to 20 %% each way")
    world.add_argument("--blob-events", choices=("flat", "twice", "hierarchical", "sftp"), default="flat", help="what one upload raises")
    world.add_argument("--etag", choices=("quoted", "bare"), default="quoted", help="how a blob event writes an ETag")
    world.add_argument("--metric-grain", type=int, default=60, metavar="SECONDS", help="width of one point of a metric")
    world.add_argument("--page-size", type=int, default=100, metavar="N", help="entries of a list on one page")
    world.add_argument("--nodes", type=int, default=1, help="jobs that the cluster runs at once")
    world.add_argument("--switch", action="append", default=[], metavar="NAME=SIDE", help="how to play what is not known of Azure")
    world.add_argument("--dial", action="append", default=[], metavar="KIND=POSITION", help="at-once, by-hand or seconds for each move")
    world.add_argument("--faults", type=Path, metavar="FILE", help="JSON plan of what shall go wrong")
    world.add_argument("--clock", choices=("system", "manual"), default="system", help="manual: time moves by POST /_localcloud/clock only")
    world.add_argument("--seed", type=int, metavar="N", help="make every draw repeatable: ids, keys, chances of faults")
    world.add_argument("--forget", action="store_true", help="keep jobs, models and endpoints in memory only")
    world.add_argument("--traffic", type=Path, metavar="FILE", help="append every exchange to this file, as JSON lines")
    world.add_argument("--trainer", help="command that trains and serves (default: the trainer of the local cloud)")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C. 0: stopped on request, 2: an option that means nothing, 4: the port is taken."""
    from localcloud import folders, web
    from localcloud.azureml.store import NotWritten, WrongStore

    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("azure.core.pipeline.policies.http_logging_policy").setLevel(logging.WARNING)
    try:
        chosen = _chosen(args)
        held = web.hold(args.port, "Azure ML")
        with held, folders.hold(chosen.data / "azureml", "Azure ML"):
            return _serve(args, chosen, held)
    except (ValueError, WrongStore, NotWritten) as error:
        LOG.error("%s", error)
        return WRONG_OPTION_EXIT
    except (web.PortTaken, folders.FolderTaken) as error:
        LOG.error("%s", error)
        return web.PORT_BUSY_EXIT
    except OSError as error:
        LOG.error("%s cannot be used (%s); check --data, --env and --traffic.", error.filename or args.data, error.strerror or error)
        return WRONG_OPTION_EXIT
    except sqlite3.Error as error:
        LOG.error("The events in %s cannot be kept (%s); free its disk, or choose another folder with --data.", args.data, error)
        return WRONG_OPTION_EXIT


def _serve(args: argparse.Namespace, chosen: _Chosen, held: socket.socket) -> int:
    """Build everything on the port and folder that are ours now, and serve."""
    from localcloud import certificates
    from localcloud.azureml import environment, server, tokens
    from localcloud.azureml.cloud import Cloud
    from localcloud.azureml.datastores import BlobStorage
    from localcloud.azureml.site import Site
    from localcloud.azureml.store import FILE, Memory, SqliteStore
    from localcloud.eventgrid import blobs as eventgrid_blobs
    from localcloud.eventgrid import service

    data, options = chosen.data, chosen.options
    if args.env:
        args.env.unlink(missing_ok=True)  # of an earlier start: its appearance says that this one is ready
    files = certificates.ensure(data)
    key = tokens.signing_key(data, None if args.seed is None else Chance(args.seed, part="tokens"))
    clock = ManualClock() if args.clock == "manual" else system
    chance = Chance(args.seed, part="events")
    with contextlib.ExitStack() as opened:  # closed where the start fails
        store = Memory() if args.forget else SqliteStore(data / "azureml" / FILE)
        opened.callback(store.close)
        post = service.Service(
            data / "events",
            storage=args.storage,
            container=DATASETS,
            clock=clock,
            chance=chance,
            faults=options.faults,
            pace=args.pace,
            spread=args.spread,
            blobs=eventgrid_blobs.Options(uploads=eventgrid_blobs.Uploads(args.blob_events), etag=args.etag),
            topics=chosen.topics,
        )
        opened.callback(post.stop)
        rooms = (post.room, post.hand)
        options = replace(options, store=store, publish=post.publish, delivered=post.stats, neighbours=(post,), rooms=rooms)
        base = f"https://localhost:{held.getsockname()[1]}"
        site = Site(folder=data / "azureml", base=base, clock=clock, world=chosen.world, page_size=args.page_size)
        site = replace(site, datastores={**site.datastores, **chosen.datastores})
        cloud = Cloud(site, BlobStorage(args.storage), key, options)
        opened.pop_all()
    chance.begin(cloud.origin.starts)
    listener = server.listen(held, cloud, certificate=files.certificate, key=files.key)

    def ready() -> None:
        if args.env:
            environment.write(args.env, site, files.bundle)
        LOG.info("Azure ML of the local cloud answers at %s, process %s", base, os.getpid())

    if args.events:
        post.start(chosen.subscriptions)  # before anything moves: what nobody takes over is lost
    server.serve(cloud, listener, ready=ready, stopped=post.stop, ticking=args.clock == "system")
    LOG.info("Azure ML of the local cloud has stopped; no child process is left.")
    return 0


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """What the arguments mean."""

    data: Path
    world: Any
    datastores: dict[str, str]  # name -> container, beside those that are always there
    topics: dict[str, Any]
    subscriptions: list[Any]
    options: Options


def _chosen(args: argparse.Namespace) -> _Chosen:
    """Read the arguments and the files that they name; raise ValueError with a sentence for the first that means nothing."""
    from localcloud import eventgrid
    from localcloud.azureml import worlds
    from localcloud.eventgrid.topics import WrongTopic

    _check_numbers(args)
    try:
        topics, subscriptions = _topics_and_subscriptions(args)
        return _Chosen(
            data=args.data.resolve(),
            world=worlds.load(args.world),
            datastores=_datastores(args.datastore),
            topics=topics,
            subscriptions=subscriptions,
            options=_options(args),
        )
    except (worlds.WrongWorld, eventgrid.WrongSubscription, WrongTopic) as error:
        raise ValueError(str(error)) from None


def _check_numbers(args: argparse.Namespace) -> None:
    for option, value in (("--nodes", args.nodes), ("--page-size", args.page_size), ("--metric-grain", args.metric_grain)):
        if value < 1:
            raise ValueError(f"{option} is {value}; it is a whole number from 1 on.")
    if not 0 < args.pace < float("inf"):
        raise ValueError(f"--pace is {args.pace:g}; it is a factor above 0, for example 0.1.")


def _command(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"--trainer {text} is no command line ({error}); write it as in a shell.") from None


def _options(args: argparse.Namespace) -> Options:
    from localcloud import switches
    from localcloud.azureml import dials, processes
    from localcloud.azureml.cloud import Options
    from localcloud.azureml.traffic import Traffic
    from localcloud.faults import Faults

    try:
        traffic = Traffic(args.traffic)
    except OSError as error:
        raise ValueError(f"The traffic cannot be written to {args.traffic} ({error.strerror}); choose another file.") from None
    return Options(
        trainer=_command(args.trainer) if args.trainer else processes.TRAINER,
        nodes_max=args.nodes,
        metric_grain_seconds=args.metric_grain,
        switches=switches.chosen(args.switch),
        dials=dials.read(args.dial),
        plan=_plan(args.faults) if args.faults else None,
        faults=Faults(Chance(args.seed, part="faults")),
        chance=Chance(args.seed),
        traffic=traffic,
    )


def _plan(path: Path) -> Any:
    """Return the plan in the file, checked."""
    from localcloud.faults import Faults

    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        Faults().add(plan)
    except OSError as error:
        raise ValueError(f"The plan of faults {path} cannot be read ({error.strerror}); check --faults.") from None
    except ValueError as error:
        raise ValueError(f"The plan of faults in {path} means nothing: {error}") from None
    return plan


def _datastores(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for text, (name, _, container) in zip(given, pairs, strict=True):
        if not name or not container:
            raise ValueError(f"--datastore {text} is not NAME=CONTAINER; write, for example, prepared_files=prepared.")
    return {name: container for name, _, container in pairs}


def _topics_and_subscriptions(args: argparse.Namespace) -> tuple[dict[str, Any], list[Any]]:
    """Return the topics by name, and the subscriptions in the file, or those of the functions host on its usual port."""
    from localcloud import eventgrid
    from localcloud.eventgrid import topics

    made = topics.named(args.topic)
    if not args.events:
        return made, []
    path: Path | None = args.subscriptions
    found = eventgrid.read(path) if path else eventgrid.parse_all(eventgrid.default_subscriptions(container=DATASETS))
    topics.check(made, found)
    return made, list(found)
