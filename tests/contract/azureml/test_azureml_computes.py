"""Clusters are made, changed and deleted as long-running operations; what Azure would not make is refused with the value it saw."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localcloud.azureml.wire import Response

VERSION = "2023-08-01-preview"


def cluster_body(vm_size: str = "Standard_NC48ads_A100_v4", **asked: Any) -> dict[str, Any]:
    scale = {"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT120S"}
    own = {"vmSize": vm_size, "vmPriority": "Dedicated", "scaleSettings": scale} | asked
    return {"location": "eastus2", "properties": {"computeType": "AmlCompute", "properties": own}}


def put(world: Any, body: Any, name: str = "big-cluster") -> Response:
    answered: Response = world.ask("PUT", f"computes/{name}", body, version=VERSION)
    return answered


def delete(world: Any, name: str = "big-cluster", action: str = "Delete") -> Response:
    answered: Response = world.ask("DELETE", f"computes/{name}?underlyingResourceAction={action}", version=VERSION)
    return answered


def names(world: Any) -> list[str]:
    return [one["name"] for one in world.get("computes")["value"]]


def test_a_cluster_is_creating_until_its_operation_has_succeeded(world: Any) -> None:
    answered = put(world, cluster_body())
    status = answered.headers["Azure-AsyncOperation"].removeprefix(world.cloud.site.base).partition("?")[0]

    assert answered.status == 201
    assert json.loads(answered.body)["properties"]["provisioningState"] == "Creating"
    assert "/computeOperationsStatus/" in status
    assert world.get(status)["status"] == "InProgress"
    world.cloud.advance()
    assert world.get(status)["status"] == "Succeeded"
    assert world.get("computes/big-cluster")["properties"]["provisioningState"] == "Succeeded"
    assert names(world) == ["gpu-cluster", "big-cluster"]


def test_a_cluster_that_is_still_being_made_is_not_changed(world: Any) -> None:
    put(world, cluster_body())

    assert put(world, cluster_body()).status == 409


def test_a_cluster_is_changed_but_not_its_size(world: Any) -> None:
    put(world, cluster_body())
    world.cloud.advance()
    changed = put(world, cluster_body(scaleSettings={"minNodeCount": 1, "maxNodeCount": 4}))
    world.cloud.advance()
    refused = put(world, cluster_body("Standard_NC24ads_A100_v4"))

    assert changed.status == 200
    assert world.get("computes/big-cluster")["properties"]["properties"]["scaleSettings"]["maxNodeCount"] == 4
    assert refused.status == 400
    assert b"cannot be changed to Standard_NC24ads_A100_v4" in refused.body


def test_a_deleted_cluster_is_gone_and_deleting_it_again_is_no_fault(world: Any) -> None:
    put(world, cluster_body())
    world.cloud.advance()
    assert delete(world).status == 202
    assert world.get("computes/big-cluster")["properties"]["provisioningState"] == "Deleting"
    world.cloud.advance()

    assert world.ask("GET", "computes/big-cluster").status == 404
    assert delete(world).status == 204


def test_a_delete_says_what_becomes_of_the_machines(world: Any) -> None:
    assert delete(world, "gpu-cluster", action="").status == 400
    assert b"cannot be detached" in delete(world, "gpu-cluster", action="Detach").body
    assert names(world) == ["gpu-cluster"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (cluster_body("Standard_ND40rs_v2"), 400, "not available in eastus2 or is retired"),
        (cluster_body(vmPriority="Cheap"), 400, "vmPriority must be one of Dedicated, LowPriority, and is"),
        (cluster_body(scaleSettings={"maxNodeCount": 0}), 400, "maxNodeCount must be a whole number from 1"),
        (cluster_body(scaleSettings={"minNodeCount": 3, "maxNodeCount": 2}), 400, "maxNodeCount must be a whole number from 3"),
        (cluster_body(scaleSettings={"maxNodes": 2}), 400, "no field properties.properties.scaleSettings.maxNodes;"),
        (cluster_body(vmsize="Standard_NC24ads_A100_v4"), 400, "no field properties.properties.vmsize;"),
        ({"properties": {"computeType": "ComputeInstance"}}, 501, "properties.computeType, and this is ComputeInstance"),
        ({"properties": {"computeType": "AmlCompute"}, "nodes": 2}, 400, "no field nodes;"),
    ],
)
def test_what_azure_has_not_is_refused(world: Any, body: Any, status: int, says: str) -> None:
    answered = put(world, body)

    assert answered.status == status
    assert says in json.loads(answered.body)["error"]["message"]


@pytest.mark.parametrize("name", ["x", "1cluster", "under_score", "ends-", "gpu-1", "c" * 25])
def test_a_name_that_azure_would_not_take_is_refused(world: Any, name: str) -> None:
    assert put(world, cluster_body(), name).status == 400


def test_a_job_may_run_on_a_cluster_that_was_made(world: Any) -> None:
    put(world, cluster_body())
    world.submit(compute_finetune="big-cluster")
    world.until(lambda: world.status("ft-a1") in {"Completed", "Failed"})

    assert world.status("ft-a1") == "Completed"


def test_a_job_on_a_cluster_without_gpus_fails_for_that(world: Any) -> None:
    put(world, cluster_body("Standard_DS3_v2"))
    world.submit(compute_finetune="big-cluster")
    world.until(lambda: world.status("ft-a1") == "Failed")
    details = world.get(f"/history/v1.0{world.cloud.site.workspace_id}/runs/ft-a1/details")

    assert "SKUNotSupported: big-cluster is of Standard_DS3_v2" in details["error"]["error"]["message"]


def test_a_job_whose_cluster_was_deleted_fails_for_that(world: Any) -> None:
    put(world, cluster_body())
    world.submit(compute_finetune="big-cluster")
    world.cloud.advance()
    delete(world)
    world.until(lambda: world.status("ft-a1") == "Failed")
    details = world.get(f"/history/v1.0{world.cloud.site.workspace_id}/runs/ft-a1/details")

    assert "big-cluster is no longer there" in details["error"]["error"]["message"]


def test_a_job_that_wants_more_gpus_than_its_nodes_have_fails_for_that(world: Any) -> None:
    world.submit(number_of_gpu_to_use_finetuning=2)
    world.until(lambda: world.status("ft-a1") == "Failed")
    details = world.get(f"/history/v1.0{world.cloud.site.workspace_id}/runs/ft-a1/details")

    assert "wants 2 GPUs of each node and Standard_NC24ads_A100_v4 has 1" in details["error"]["error"]["message"]
