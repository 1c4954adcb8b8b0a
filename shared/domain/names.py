"""
The one table of names: everything that we create in Azure is called after what it is for.

No clock and no chance here, so asking twice is asking once, and the server itself refuses the second. The only numbers
come from counters in the ledger that were raised by compare-and-set before they were used.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from shared.domain.upload import short_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

SLUG_LENGTH_MAX = 20  # characters: 20 + '-' + 8 hex = 29 of the 32 that an endpoint name may have
ENDPOINT_HASH_LENGTH = 8  # hex digits
DEPLOYMENT_HASH_LENGTH = 8  # hex digits; 'd' + 9 digits + '-' + 8 = 19 of 32 characters
OPTIONS_HASH_LENGTH = 8  # hex digits; of options, rules, tool and files
JOB_NAME = re.compile(r"ft-(?P<training>[0-9a-f]{12})-a(?P<number>[1-9][0-9]{0,5})")
PREPARATION_NAME = re.compile(r"prep-(?P<tuning>[0-9a-f]{12})-a(?P<number>[1-9][0-9]{0,5})")

OWNER_TAG = "tuneloop-owner"
TRAINING_TAG = "tuneloop-training"
SERVICE_TAG = "tuneloop-service"
TUNING_TAG = "tuneloop-tuning"
DATASET_TAG = "tuneloop-dataset"  # sha256 over the prepared files


def service_id(owner: str, service: str) -> str:
    return short_hash(owner, "service", service)


def slug(service: str) -> str:
    """Return a readable form of the service's text: lower-case a-z, 0-9 and single dashes, a letter first."""
    ascii_text = unicodedata.normalize("NFKD", service).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\.(jsonl|parquet)$", "", ascii_text)).strip("-")
    if not text or not text[0].isalpha():
        text = f"s-{text}".strip("-")
    return text[:SLUG_LENGTH_MAX].strip("-")


def endpoint(owner: str, service: str) -> str:
    """Return the endpoint's name, for ever the same for this owner and exact service text."""
    return f"{slug(service)}-{short_hash(owner, service)[:ENDPOINT_HASH_LENGTH]}"


def deployment(number: int, training: str) -> str:
    return f"d{number}-{training[:DEPLOYMENT_HASH_LENGTH]}"


def training_id(owner: str, dataset_sha256: str, frozen: Mapping[str, str]) -> str:
    """Return the identity of what a paid job yields: who, which bytes, and every value that alters the training."""
    return short_hash(owner, dataset_sha256, *(f"{name}={frozen[name]}" for name in sorted(frozen)))


def job(training: str, number: int) -> str:
    return f"ft-{training}-a{number}"


def training_of_job(name: str) -> str | None:
    """Return the training that a job of this name is for, None for anybody else's job."""
    match = JOB_NAME.fullmatch(name)
    return match["training"] if match else None


def preparation(tuning: str, number: int) -> str:
    """Return the name of a job that prepares an upload."""
    return f"prep-{tuning}-a{number}"


def tuning_of_preparation(name: str) -> str | None:
    """Return the tuning that a job of this name prepares for, None for anybody else's job."""
    match = PREPARATION_NAME.fullmatch(name)
    return match["tuning"] if match else None


def model(base_model: str, service: str) -> str:
    return f"{base_model}-{slug(service)}"


def prepared_folder(owner: str, service: str, tuning: str, *follows_from: str) -> str:
    """
    Return where the files and the report of an upload lie. `follows_from`: what they follow from besides the upload itself, that is the
    hash of the options, the versions of rules and tool, and the ETags of everything that is read.
    """
    return f"{endpoint(owner, service)}/uploads/{tuning}-{short_hash(*follows_from)[:OPTIONS_HASH_LENGTH]}"


def prepared_by_a_job(folder: str, number: int) -> str:
    """Return where a job writes what would lie in `folder`: each its own place, since one that was given up may still be writing."""
    return f"{folder}-a{number}"


def manifests(owner: str, service: str) -> str:
    """Return where the manifests of a service lie, each at the address of its content."""
    return f"{endpoint(owner, service)}/datasets"


def model_folder(owner: str, service: str, job: str) -> str:
    """Return where a job writes its model, in the prepared container: a place of ours, so that what is there can be listed."""
    return f"{endpoint(owner, service)}/models/{job}"


def smoke_path(owner: str, service: str, deployment_name: str) -> str:
    """Return where the question and the answer of a deployment's smoke test lie; records and logs never hold them."""
    return f"{endpoint(owner, service)}/smoke/{deployment_name}.json"
