"""
The scoring address: who asks is checked, one deployment is chosen, its child answers, and the request is counted.

A header names a deployment and bypasses the traffic; otherwise shares are kept exactly, by a counter: of any 100 requests
in a row each deployment gets its share. A failing model server is a 424, as in Azure.
"""

from __future__ import annotations

import http.client
import re
import uuid
from threading import RLock
from typing import TYPE_CHECKING

from localcloud.azureml.routes import Call, Route
from localcloud.azureml.tokens import MACHINE_LEARNING
from localcloud.azureml.wire import Refused, Response

if TYPE_CHECKING:
    from localcloud.azureml.deployments import Deployment
    from localcloud.azureml.endpoints import Endpoint, Endpoints
    from localcloud.azureml.monitor import Meter
    from localcloud.azureml.tokens import Tokens

DEPLOYMENT_HEADER = "azureml-model-deployment"
STRIDE = 61  # prime to 100, so that it visits every hundredth once, and shares are mixed rather than in blocks
_DURATION = re.compile(r"PT(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?")


class Scoring:
    """Forwards requests to the children of deployments."""

    def __init__(self, endpoints: Endpoints, meter: Meter, tokens: Tokens, lock: RLock) -> None:
        self._endpoints = endpoints
        self._meter = meter
        self._tokens = tokens
        self._lock = lock

    def routes(self) -> list[Route]:
        path = "/endpoints/{endpoint}/score"
        return [Route(method="POST", path=path, handler=self._score, versions=None, signed=False, locked=False)]

    def _score(self, call: Call) -> Response:
        with self._lock:
            endpoint = self._endpoints.find(call["endpoint"])
            self._check_caller(call, endpoint)
            deployment = self._choose(endpoint, call.request.headers.get(DEPLOYMENT_HEADER))
            port, timeout = deployment.port, _seconds(str(deployment.properties["requestSettings"]["requestTimeout"]))
        self._meter.count(endpoint.name, deployment.name)
        if port is None:
            raise Refused(424, "ModelNotReady", f"The container of deployment {deployment.name} is not running; look at its logs.")
        answered = _forward(call.request.body, port, timeout)
        headers = {DEPLOYMENT_HEADER: deployment.name, "x-request-id": str(uuid.uuid4()), **answered.headers}
        return Response(status=answered.status, body=answered.body, headers=headers)

    def _check_caller(self, call: Call, endpoint: Endpoint) -> None:
        if endpoint.auth_mode == "AADToken":
            self._tokens.check(call.request, (MACHINE_LEARNING,))
            return
        scheme, _, key = call.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or key not in endpoint.keys:
            raise Refused(401, "key_auth_access_denied", "The key is missing or wrong; take it from listKeys and send it as Bearer.")

    def _choose(self, endpoint: Endpoint, named: str | None) -> Deployment:
        if named is None:
            named = _share_out(endpoint)
        deployment = endpoint.deployments.get(named) if named else None
        if deployment is None or deployment.state not in {"Succeeded", "Updating"}:
            message = f"The endpoint {endpoint.name} has no deployment for this; check its traffic and the header {DEPLOYMENT_HEADER}."
            raise Refused(404, "NoValidDeployment", message)
        return deployment


def _share_out(endpoint: Endpoint) -> str | None:
    """Return the deployment that the next request goes to; None: no deployment has traffic."""
    place = endpoint.asked * STRIDE % 100
    endpoint.asked += 1
    for name, share in sorted(endpoint.traffic.items()):
        if place < share:
            return name
        place -= share
    return None


def _forward(body: bytes, port: int, timeout: float) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", "/score", body, {"content-type": "application/json"})
        reply = connection.getresponse()
        content, status = reply.read(), reply.status
        headers = {"content-type": reply.headers.get("content-type", "application/json")}
    except TimeoutError:
        raise Refused(408, "RequestTimeout", f"The model took longer than the request timeout of {timeout:g} s.") from None
    except (OSError, http.client.HTTPException) as error:
        raise Refused(424, "ModelError", f"The model's container did not answer: {type(error).__name__}.") from None
    finally:
        connection.close()
    if 200 <= status < 300:
        return Response(status=200, body=content, headers=headers)
    reason = {"ms-azureml-model-error-statuscode": str(status), "ms-azureml-model-error-reason": "model_error"}
    return Response(status=424, body=content, headers=headers | reason)


def _seconds(duration: str) -> float:
    match = _DURATION.fullmatch(duration)
    minutes, seconds = match.groups() if match else (None, None)
    return float(minutes or 0) * 60 + float(seconds or 0) or 5.0  # PT5S is Azure's default
