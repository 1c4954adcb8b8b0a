"""
The scoring address: who asks is checked, one deployment is chosen, its child answers, and the request is counted.

A header names a deployment and bypasses the traffic; otherwise shares are kept exactly, by a counter: of any 100 requests
in a row each deployment gets its share. A failing model server is a 424, as in Azure. Mirrored requests are copies: the mirror's
answer is thrown away, and nobody waits for it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from dataclasses import replace
from threading import RLock
from typing import TYPE_CHECKING

from localcloud.azureml import durations
from localcloud.azureml.routes import Call, Route
from localcloud.azureml.wire import Refused, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.deployments import Deployments
    from localcloud.azureml.endpoints import Endpoints
    from localcloud.azureml.ground import Ground
    from localcloud.azureml.monitor import Meter
    from localcloud.azureml.records import Deployment, Endpoint
    from localcloud.azureml.tokens import Tokens

DEPLOYMENT_HEADER = "azureml-model-deployment"
FAULTS = ("scoring_empty", "scoring_failed", "scoring_throttled")
STRIDE = 61  # prime to 100, so that it visits every hundredth once, and shares are mixed rather than in blocks


class Scoring:
    """Forwards requests to the children of deployments."""

    def __init__(
        self, ground: Ground, *, endpoints: Endpoints, deployments: Deployments, meter: Meter, tokens: Tokens, lock: RLock
    ) -> None:
        self.ground = ground
        self._endpoints = endpoints
        self._deployments = deployments
        self._meter = meter
        self._tokens = tokens
        self._lock = lock

    def routes(self) -> list[Route]:
        return [
            Route(
                method="POST",
                path="/endpoints/{endpoint}/score",
                handler=self._score,
                versions=None,
                signed=False,
                locked=False,
                does="ask a model",
                differs="the model is a small stand-in; on one host for all endpoints, in Azure on a host of the endpoint's own",
            )
        ]

    def _score(self, call: Call) -> Response:
        with self._lock:
            endpoint = self._endpoints.find(call["endpoint"])
            self._check_caller(call, endpoint)
            deployment = self._choose(endpoint, call.request.headers.get(DEPLOYMENT_HEADER))
            port, timeout = self._deployments.port(deployment), _seconds(str(deployment.properties["requestSettings"]["requestTimeout"]))
            mirror = self._mirror(endpoint)
            for counted in filter(None, (deployment, mirror)):
                self._meter.count(endpoint.name, counted.name)
            self.ground.store.commit()
        if mirror is not None:
            threading.Thread(target=self._copy, args=(call.request.body, mirror, timeout), name="mirror", daemon=True).start()
        about = {"endpoint": endpoint.name, "deployment": deployment.name}
        fault = self.ground.faults.take_any(FAULTS, **about)
        if fault is not None:
            return _spoiled(fault.kind, deployment.name, fault["retry_after"] if fault.kind == "scoring_throttled" else 0)
        if port is None:
            raise Refused(424, "ModelNotReady", f"The container of deployment {deployment.name} is not running; look at its logs.")
        slow = self.ground.faults.take("scoring_slow", **about)
        answered = _forward(call.request.body, port, timeout)
        headers = {DEPLOYMENT_HEADER: deployment.name, "x-request-id": self.ground.chance.guid(), **answered.headers}
        return replace(answered, headers=headers, after_seconds=float(slow["seconds"]) if slow else 0.0)

    def _mirror(self, endpoint: Endpoint) -> Deployment | None:
        """Return the deployment that gets a copy of this request; None: no one does."""
        for name, share in endpoint.mirror.items():
            if share and (endpoint.asked * STRIDE % 100) < share:
                return self._endpoints.deployments_of(endpoint.name).get(name)
        return None

    def _copy(self, body: bytes, deployment: Deployment, timeout: float) -> None:
        port = self._deployments.port(deployment)
        if port is not None:
            with contextlib.suppress(Refused):  # whatever the mirror says, nobody hears it
                _forward(body, port, timeout)

    def _check_caller(self, call: Call, endpoint: Endpoint) -> None:
        if endpoint.auth_mode != "Key":
            self._tokens.check(call.request, (self._endpoints.audience(endpoint),))
            return
        scheme, _, key = call.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or key not in endpoint.keys:
            raise Refused(401, "key_auth_access_denied", "The key is missing or wrong; take it from listKeys and send it as Bearer.")

    def _choose(self, endpoint: Endpoint, named: str | None) -> Deployment:
        if named is None:
            named = _share_out(endpoint)
            self._endpoints.all.save(endpoint.name, endpoint)
        deployment = self._endpoints.deployments_of(endpoint.name).get(named) if named else None
        if deployment is None or deployment.state not in {"Succeeded", "Updating"}:
            message = f"The endpoint {endpoint.name} has no deployment for this; check its traffic and the header {DEPLOYMENT_HEADER}."
            raise Refused(404, "NoValidDeployment", message)
        return deployment


def _spoiled(kind: str, deployment: str, retry_after: float) -> Response:
    """Return what a planned fault answers in the model's stead."""
    headers = {DEPLOYMENT_HEADER: deployment}
    if kind == "scoring_empty":
        return answer({}, 200, headers)
    if kind == "scoring_throttled":
        body = {"error": {"code": "TooManyRequests", "message": "Too many requests for this model; try again later."}}
        return answer(body, 429, {**headers, "Retry-After": f"{retry_after:g}"})
    reason = {"ms-azureml-model-error-statuscode": "500", "ms-azureml-model-error-reason": "model_error"}
    return Response(status=424, body=json.dumps("The model failed.").encode(), headers={**headers, **reason})


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
    return durations.seconds(duration) or 5.0  # PT5S is Azure's default
