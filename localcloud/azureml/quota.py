"""
What of the region's machines is in use, family by family, and how much may be. The use is counted; the limits are invented.

Nothing is refused here for want of quota: a deployment that shall not fit is planned (fault `deployment_refused`). In Azure the GPU
families begin at 0 (how-to-manage-quotas).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from localcloud.azureml import paging
from localcloud.azureml import site as sites
from localcloud.azureml.routes import Call, Route, early
from localcloud.azureml.wire import Json, Response

if TYPE_CHECKING:
    from localcloud.azureml.computes import Computes
    from localcloud.azureml.deployments import Deployments
    from localcloud.azureml.jobs import Jobs
    from localcloud.azureml.site import Site

_LOCATION = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}"
CORES_MAX = 480  # of each family; invented: five times the largest machine here
DEDICATED = "Total Cluster Dedicated Regional vCPUs"  # the row of all families together, as Azure's portal names it
SERVING = frozenset({"Creating", "Updating", "Succeeded"})  # states of a deployment that holds its machines


class Quota:
    """Usages and limits of the region."""

    def __init__(self, site: Site, *, computes: Computes, jobs: Jobs, deployments: Deployments) -> None:
        self.site = site
        self._computes = computes
        self._jobs = jobs
        self._deployments = deployments

    def routes(self) -> list[Route]:
        found = [
            Route(
                method="GET",
                path=_LOCATION + "/usages",
                handler=self._usages,
                query=frozenset({"$skip"}),
                does="cores in use by family",
                differs="limits are invented and refuse nothing",
            ),
            Route(
                method="GET",
                path=_LOCATION + "/quotas",
                handler=self._quotas,
                query=frozenset({"$skip"}),
                does="cores that the workspace may use by family",
                differs="limits are invented and refuse nothing",
            ),
        ]
        return early(found)

    def _usages(self, call: Call) -> Response:
        used = self._used()
        rows = [DEDICATED, *self._families()]
        counted = used | {DEDICATED: sum(used.values())}
        return paging.page(call, self.site, rows, key=str, shown=lambda family: self._usage(family, counted.get(family, 0)))

    def _quotas(self, call: Call) -> Response:
        return paging.page(call, self.site, self._families(), key=str, shown=self._quota)

    def _families(self) -> list[str]:
        return list(dict.fromkeys(size.family for size in self.site.world.sizes))

    def _used(self) -> Counter[str]:
        """Count the cores of every busy node of a cluster and of every instance that serves."""
        used: Counter[str] = Counter()
        for job in self._jobs.all.values():
            cluster = self._computes.all.get(job.order.cluster) if job.order.cluster else None
            if job.status == "Running" and cluster is not None:
                used[cluster.size.family] += cluster.size.cores * job.order.nodes
        for deployment in self._deployments.all.values():
            size = self.site.world.size(str(deployment.properties["instanceType"]))
            if deployment.state in SERVING and size is not None:
                used[size.family] += size.cores * deployment.capacity
        return used

    def _usage(self, family: str, used: int) -> Json:
        named = {"value": family, "localizedValue": family}
        limit = CORES_MAX * len(self._families()) if family == DEDICATED else CORES_MAX
        row = self._row("usages", family) | {"unit": "Count", "currentValue": used, "limit": limit, "name": named}
        return row | {"amlWorkspaceLocation": self.site.location}

    def _quota(self, family: str) -> Json:
        named = {"value": family, "localizedValue": family}
        return self._row("quotas", family) | {
            "id": f"{self.site.workspace_id}/quotas/{family}",
            "amlWorkspaceLocation": self.site.location,
            "unit": "Count",
            "limit": CORES_MAX,
            "name": named,
        }

    def _row(self, kind: str, family: str) -> Json:
        place = f"/subscriptions/{self.site.subscription}/providers/{sites.PROVIDER}/locations/{self.site.location}"
        return {"id": f"{place}/{kind}/{family}", "type": f"{sites.PROVIDER}/{kind}"}
