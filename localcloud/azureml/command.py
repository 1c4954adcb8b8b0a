"""
`python -m localcloud azureml`: read the arguments, make certificates, write the environment file, serve until told to stop.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Azurite's account and key are public and the same everywhere (Azurite's README).
AZURITE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
)
DATASETS = "datasets"  # the container whose new blobs are events
FORGOTTEN = ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_USERNAME", "AZURE_PASSWORD", "AZURE_AUTHORITY_HOST",
             "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "MSI_SECRET",
             "AZUREML_CURRENT_CLOUD", "AZUREML_DEV_URL_MFE")  # fmt: skip
LOG = logging.getLogger("localcloud.azureml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the emulator can be told."""
    parser.add_argument("--data", type=Path, default=Path(".localcloud"), help="folder for certificates, jobs and models")
    parser.add_argument("--port", type=int, default=8443, help="HTTPS port on 127.0.0.1; 0 takes any that is free")
    parser.add_argument("--env", type=Path, help="write the environment of an unmodified client to this file")
    parser.add_argument("--storage", default=AZURITE, help="connection string of the storage account (default: Azurite's)")
    parser.add_argument("--datastore", action="append", default=[], metavar="NAME=CONTAINER", help="one more datastore")
    parser.add_argument("--events", action="store_true", help="deliver events to their subscribers")
    parser.add_argument("--subscriptions", type=Path, help="JSON list of subscriptions (default: the functions host at 7071)")
    parser.add_argument("--pace", type=float, default=1.0, help="factor on every waiting time of event delivery; 0.01 is quick")
    parser.add_argument("--metric-grain", type=int, default=60, metavar="SECONDS", help="width of one point of a metric")
    parser.add_argument("--nodes", type=int, default=1, help="jobs that the cluster runs at once")
    parser.add_argument("--identical-job-put", choices=("ok", "refused"), default="refused", help="answer to the same job again")
    parser.add_argument("--traffic", type=Path, help="append every exchange to this file, as JSON lines")
    parser.add_argument("--trainer", help="command that trains and serves (default: the trainer of the local cloud)")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from localcloud import certificates
    from localcloud.azureml import processes, server, tokens
    from localcloud.azureml.cloud import Cloud, Options
    from localcloud.azureml.datastores import BlobStorage
    from localcloud.azureml.site import Site
    from localcloud.azureml.traffic import Recorder

    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("azure.core.pipeline.policies.http_logging_policy").setLevel(logging.WARNING)
    data = args.data.resolve()
    files = certificates.ensure(data)
    listener = server.listen(args.port)
    base = f"https://localhost:{listener.getsockname()[1]}"
    site = _with_datastores(Site(folder=data / "azureml", base=base), args.datastore)
    post = _EventPost()
    options = Options(
        trainer=tuple(shlex.split(args.trainer)) if args.trainer else processes.TRAINER,
        nodes_max=args.nodes,
        metric_grain_seconds=args.metric_grain,
        identical_job_put=args.identical_job_put,
        publish=post.publish,
        delivered=post.stats,
        record=Recorder(args.traffic) if args.traffic else None,
    )
    cloud = Cloud(site, BlobStorage(args.storage), tokens.signing_key(data), options)
    if args.events:
        post.start(_subscriptions(args.subscriptions), pace=args.pace, storage=args.storage, folder=data / "events")
    if args.env:
        write_environment(args.env, site, files.bundle)
    LOG.info("Azure ML of the local cloud answers at %s, process %s", base, os.getpid())
    server.serve(cloud, listener, certificate=files.certificate, key=files.key, stopped=post.stop)
    LOG.info("Azure ML of the local cloud has stopped; no child process is left.")
    return 0


class _EventPost:
    """Hands events on once delivery has started; before that, or without `--events`, they go nowhere."""

    def __init__(self) -> None:
        self._grid: Any = None
        self._watcher: Any = None

    def start(self, subscriptions: list[dict[str, Any]], *, pace: float, storage: str, folder: Path) -> None:
        """Deliver from now on; what is undelivered and what was seen outlive a restart in `folder`."""
        from localcloud.eventgrid import BlobWatcher, EventGrid

        folder.mkdir(parents=True, exist_ok=True)
        self._grid = EventGrid(subscriptions, pace=pace, log=LOG, store=folder / "undelivered.json")
        self._grid.start()
        self._watcher = BlobWatcher(storage, DATASETS, self._grid.publish, seen=folder / "blobs-seen.json", log=LOG)
        self._watcher.start()

    def publish(self, topic: str, event: dict[str, Any]) -> None:
        if self._grid:
            self._grid.publish(topic, event)

    def stats(self) -> dict[str, Any]:
        return dict(self._grid.stats()) if self._grid else {}

    def stop(self) -> None:
        for part in filter(None, (self._watcher, self._grid)):
            part.stop()


def _with_datastores(site: Any, given: list[str]) -> Any:
    from dataclasses import replace

    stores = dict(site.datastores)
    for text in given:
        name, equals, container = text.partition("=")
        if not name or not equals or not container:
            raise SystemExit(f"--datastore {text} is not NAME=CONTAINER; write, for example, prepared_files=prepared.")
        stores[name] = container
    return replace(site, datastores=stores)


def _subscriptions(path: Path | None) -> list[dict[str, Any]]:
    """Return the subscriptions in the file, or those of the functions host on its usual port."""
    if path is not None:
        found = json.loads(path.read_text(encoding="utf-8"))
        return list(found)
    from localcloud.eventgrid import default_subscriptions

    return default_subscriptions(container=DATASETS)


def write_environment(path: Path, site: Any, bundle: Path) -> None:
    """Write the lines that steer an unmodified client here: `export NAME='value'` and `unset NAME`."""
    values = environment(site, bundle)
    lines = [f"export {name}={_quoted(value)}" for name, value in values.items()]
    lines += [f"unset {name}" for name in FORGOTTEN]
    fresh = path.with_name(path.name + ".new")
    fresh.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
    fresh.replace(path)


def _quoted(value: str) -> str:
    """Return the value in single quotes, as a shell reads it."""
    return shlex.quote(value) if "'" in value else f"'{value}'"


def environment(site: Any, bundle: Path, before: Callable[[str], str | None] = os.environ.get) -> dict[str, str]:
    """Return the variables by name. The SDK takes this cloud when its address is part of ARM_CLOUD_METADATA_URL."""
    local = ["localhost", "127.0.0.1"]
    kept = [host for host in (before("NO_PROXY") or before("no_proxy") or "").split(",") if host and host not in local]
    return {
        "ARM_CLOUD_METADATA_URL": f"{site.base}/metadata/endpoints?api-version=2019-05-01",
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{site.base}/",
        "REQUESTS_CA_BUNDLE": str(bundle),
        "IDENTITY_ENDPOINT": f"{site.base}/msi/token",
        "IDENTITY_HEADER": "local",
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "AZURE_SUBSCRIPTION_ID": site.subscription,
        "AZURE_RESOURCE_GROUP": site.group,
        "AZUREML_WORKSPACE": site.workspace,
        "AZUREML_REGISTRY": site.registry,
        "NO_PROXY": ",".join([*local, *kept]),
        "no_proxy": ",".join([*local, *kept]),
    }
