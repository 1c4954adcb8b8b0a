"""
Which names a query may have, route by route: those of Azure's operations in the api-versions that are served here.

Read in azure-ai-ml 1.35.2, which Microsoft generates from its swagger; the older names (assetName, scheduled, scheduleId, stage) are from
memory. `api-version` is always allowed, and compared without regard to case.
"""

from __future__ import annotations

from collections.abc import Mapping

from localcloud.azureml.wire import Refused

NONE: frozenset[str] = frozenset()
JOBS = frozenset({"$skip", "jobType", "tag", "listViewType", "properties", "assetName", "scheduled", "scheduleId"})
MODEL_VERSIONS = frozenset(
    {"$skip", "$orderBy", "$top", "version", "description", "offset", "tags", "properties", "feed", "listViewType", "stage"}
)
MODELS = frozenset({"$skip", "count", "listViewType"})
COMPONENT_VERSIONS = frozenset({"$orderBy", "$top", "$skip", "listViewType", "stage"})
COMPONENTS = frozenset({"$skip", "listViewType"})
CODE_VERSIONS = frozenset({"$orderBy", "$top", "$skip", "hash", "hashVersion"})
ENVIRONMENTS = frozenset({"$skip", "listViewType"})
ENVIRONMENT_VERSIONS = frozenset({"$orderBy", "$top", "$skip", "listViewType", "stage"})
DATASTORES = frozenset({"$skip", "count", "isDefault", "names", "searchText", "orderBy", "orderByAsc"})
ENDPOINTS = frozenset({"name", "count", "computeType", "$skip", "tags", "properties", "orderBy"})
DEPLOYMENTS = frozenset({"$orderBy", "$top", "$skip"})
DEPLOYMENT_SKUS = frozenset({"count", "$skip"})
COMPUTES = frozenset({"$skip"})
COMPUTE_DELETE = frozenset({"underlyingResourceAction"})
OPERATIONS = frozenset({"t", "c", "s", "h", "service"})  # Azure signs the addresses of operations [recorded]; here they mean nothing
IDENTITY = frozenset({"resource", "client_id", "object_id", "principal_id", "mi_res_id", "msi_res_id"})
METRICS = frozenset(
    {"timespan", "interval", "metricnames", "aggregation", "$filter", "metricnamespace", "top", "orderby"}
    | {"resultType", "rollupby", "AutoAdjustTimegrain", "ValidateDimensions"}
)
TRAFFIC = frozenset({"since"})  # of /_localcloud
RUN_CHILDREN = frozenset({"$filter", "$continuationtoken", "$orderby", "$sortorder", "$top", "$count"})
MLFLOW_RUN = frozenset({"run_id", "run_uuid"})
MLFLOW_HISTORY = frozenset({"run_id", "run_uuid", "metric_key", "page_token", "max_results"})
MLFLOW_EXPERIMENT = frozenset({"experiment_name"})
MLFLOW_EXPERIMENT_ID = frozenset({"experiment_id"})


_NOTHING = frozenset({""})
# What would change an answer here: name -> the values (in lower case) for which the answer is right all the same.
PLAYED_OF_JOBS = dict.fromkeys(("properties", "assetName", "scheduleId"), _NOTHING) | {
    "jobType": frozenset({"", "pipeline", "command"}),
    "scheduled": frozenset({"", "false"}),
}
PLAYED_OF_MODEL_VERSIONS = dict.fromkeys(("version", "description", "offset", "properties", "feed"), _NOTHING) | {
    "$orderBy": frozenset({"", "createdtime desc"})
}
PLAYED_OF_CODE_VERSIONS = {"$orderBy": _NOTHING}
PLAYED_OF_ENVIRONMENT_VERSIONS = {"$orderBy": frozenset({"", "createdtime desc"}), "stage": _NOTHING}
PLAYED_OF_ENDPOINTS = dict.fromkeys(("properties", "orderBy"), _NOTHING) | {"computeType": frozenset({"", "managed"})}
PLAYED_OF_DEPLOYMENTS = {"$orderBy": _NOTHING}
PLAYED_OF_METRICS = {
    "resultType": frozenset({"", "data"}),
    "rollupby": _NOTHING,
    "AutoAdjustTimegrain": frozenset({"", "false"}),
    "ValidateDimensions": frozenset({"", "true"}),
}
PLAYED_OF_RUN_CHILDREN = dict.fromkeys(("$filter", "$orderby", "$sortorder"), _NOTHING) | {"$count": frozenset({"", "false"})}
PLAYED_OF_DATASTORES = dict.fromkeys(("names", "searchText", "orderBy"), _NOTHING)


def check(query: Mapping[str, str], allowed: frozenset[str], path: str) -> None:
    """Refuse (400) a name that the operation does not have."""
    unknown = sorted(name for name in query if name not in allowed and name.lower() != "api-version")
    if unknown:
        known = f"known there are {', '.join(sorted(allowed))}" if allowed else "it has none but api-version"
        message = f"The query of {path} has no parameter {', '.join(unknown)}; {known}."
        raise Refused(400, "InvalidQueryParameter", message, target=unknown[0])


def only(query: Mapping[str, str], played: Mapping[str, frozenset[str]], path: str) -> None:
    """
    Refuse (501) what Azure would answer in another way: a value that the local cloud does not play.

    `played` has each name that is not fully played, with the values (in lower case) for which the answer is right.
    """
    for name, values in played.items():
        if name in query and query[name].lower() not in values:
            wanted = f"plays {' or '.join(sorted(values))} for it" if values else "does not play it"
            message = f"The query of {path} asks {name}={query[name]}; the local cloud {wanted}."
            raise Refused(501, "NotImplementedByLocalCloud", message, target=name)
