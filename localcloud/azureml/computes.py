"""
Compute of this workspace: one GPU cluster, and the sizes that exist in its region. No machine is real; the counts are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.wire import Json, Refused, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.site import Site

SERVERLESS = "serverless"  # the word for compute without a cluster


class Size(NamedTuple):
    """One size of virtual machine, as the vmSizes operation lists it."""

    name: str
    family: str
    cores: int
    gpus: int
    memory_gb: float


# Cores, GPUs, memory: Azure's pages on the sizes. Retired families (NCv2, NCv3, NDv2) are left out on purpose: they are refused.
SIZES = (
    Size("Standard_DS3_v2", "standardDSv2Family", 4, 0, 14.0),
    Size("Standard_D12_v2", "standardDv2Family", 4, 0, 28.0),
    Size("Standard_E4s_v3", "standardESv3Family", 4, 0, 32.0),
    Size("Standard_NC4as_T4_v3", "Standard NCASv3_T4 Family", 4, 1, 28.0),
    Size("Standard_NC8as_T4_v3", "Standard NCASv3_T4 Family", 8, 1, 56.0),
    Size("Standard_NC16as_T4_v3", "Standard NCASv3_T4 Family", 16, 1, 110.0),
    Size("Standard_NC64as_T4_v3", "Standard NCASv3_T4 Family", 64, 4, 440.0),
    Size("Standard_NC24ads_A100_v4", "StandardNCADSA100v4Family", 24, 1, 220.0),
    Size("Standard_NC48ads_A100_v4", "StandardNCADSA100v4Family", 48, 2, 440.0),
    Size("Standard_NC96ads_A100_v4", "StandardNCADSA100v4Family", 96, 4, 880.0),
    Size("Standard_NC40ads_H100_v5", "StandardNCadsH100v5Family", 40, 1, 320.0),
    Size("Standard_NC80adis_H100_v5", "StandardNCadsH100v5Family", 80, 2, 640.0),
    Size("Standard_ND96asr_v4", "standardNDASv4_A100Family", 96, 8, 900.0),
    Size("Standard_ND96amsr_A100_v4", "standardNDAMSv4_A100Family", 96, 8, 1900.0),
    Size("Standard_ND96isr_H100_v5", "standardNDv5H100Family", 96, 8, 1900.0),
)


def size(name: str) -> Size | None:
    """Return the size of that name in any case; None: this region does not have it."""
    return next((one for one in SIZES if one.name.lower() == name.lower()), None)


class Computes:
    """The cluster and the sizes."""

    def __init__(self, site: Site, nodes_max: int = 1) -> None:
        self.site = site
        self.nodes_max = nodes_max
        self.created = site.clock()
        self.names = ("gpu-cluster",)
        self.vm_size = "Standard_NC24ads_A100_v4"

    def routes(self) -> list[Route]:
        locations = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}"
        return [
            Route(method="GET", path=WORKSPACE + "/computes", handler=self._list),
            Route(method="GET", path=WORKSPACE + "/computes/{name}", handler=self._get),
            Route(method="GET", path=locations + "/vmSizes", handler=self._sizes),
        ]

    def _list(self, call: Call) -> Response:  # noqa: ARG002
        return answer({"value": [self._body(name) for name in self.names]})

    def _get(self, call: Call) -> Response:
        if call["name"] not in self.names:
            message = f"The compute '{call['name']}' was not found; the local cloud has {', '.join(self.names)}."
            raise Refused(404, "ResourceNotFound", message)
        return answer(self._body(call["name"]))

    def _body(self, name: str) -> Json:
        cluster = {
            "vmSize": self.vm_size,
            "vmPriority": "Dedicated",
            "osType": "Linux",
            "scaleSettings": {"minNodeCount": 0, "maxNodeCount": self.nodes_max, "nodeIdleTimeBeforeScaleDown": "PT120S"},
            "remoteLoginPortPublicAccess": "NotSpecified",
            "allocationState": "Steady",
        }
        properties = {
            "computeType": "AmlCompute",
            "computeLocation": self.site.location,
            "provisioningState": "Succeeded",
            "properties": cluster,
        }
        body = self.site.resource(f"computes/{name}", "computes", properties, self.created, self.created)
        return body | {"location": self.site.location, "tags": {}}

    def _sizes(self, call: Call) -> Response:  # noqa: ARG002
        return answer({"value": [_size_body(one) for one in SIZES]})


def _size_body(one: Size) -> Json:
    return {
        "name": one.name,
        "family": one.family,
        "vCPUs": one.cores,
        "gpus": one.gpus,
        "osVhdSizeMB": 1047552,
        "maxResourceVolumeMB": 0,
        "memoryGB": one.memory_gb,
        "lowPriorityCapable": True,
        "premiumIO": True,
        "supportedComputeTypes": ["AmlCompute"],
    }
