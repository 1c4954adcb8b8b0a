"""
What a person's own script does: the unmodified SDK, DefaultAzureCredential, nothing but environment variables. Prints JSON.
"""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from azure.ai.ml import Input, MLClient
from azure.ai.ml.dsl import pipeline
from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
from azure.identity import DefaultAzureCredential

FILES = "azureml://datastores/tuneloop_prepared/paths/x"
BASE = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"
DEADLINE_SECONDS = 30


def main() -> None:
    credential = DefaultAzureCredential()
    place = [os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE")]
    client = MLClient(credential, *place)
    registry = MLClient(credential, registry_name=os.environ["AZUREML_REGISTRY"])
    component = registry.components.get("chat_completion_pipeline", label="latest")

    @pipeline
    def fine_tuning() -> dict[str, Any]:
        node = component(
            mlflow_model_path=Input(type="mlflow_model", path=BASE),
            train_file_path=Input(type="uri_file", path=f"{FILES}/train.jsonl"),
            validation_file_path=Input(type="uri_file", path=f"{FILES}/validation.jsonl"),
            compute_finetune="gpu-cluster",
        )
        return {"trained_model": node.outputs.mlflow_model_folder}

    job = fine_tuning()
    job.name, job.experiment_name = "ft-https-a1", "chat"
    client.jobs.create_or_update(job)
    status = wait_for_job(client, job.name)
    path = f"azureml://jobs/{job.name}/outputs/trained_model"
    model = client.models.create_or_update(Model(name="bot", version="v1", type="mlflow_model", path=path))
    client.models.get("bot", version="v1")
    list(client.models.list("bot"))
    endpoint = ManagedOnlineEndpoint(name="bot-1", auth_mode="aad_token")
    client.online_endpoints.begin_create_or_update(endpoint).result()
    deployment = ManagedOnlineDeployment(
        name="d1-a", endpoint_name="bot-1", model=model.id, instance_type="Standard_NC24ads_A100_v4", instance_count=1
    )
    client.online_deployments.begin_create_or_update(deployment).result()
    client.online_deployments.get("d1-a", endpoint_name="bot-1")
    list(client.online_deployments.list("bot-1"))
    client.online_endpoints.get("bot-1")
    endpoint.traffic = {"d1-a": 100}
    live = client.online_endpoints.begin_create_or_update(endpoint).result()
    token = credential.get_token("https://ml.azure.com/.default").token
    answered = requests.post(
        live.scoring_uri, json={"input_data": {"input_string": []}}, headers={"Authorization": f"Bearer {token}"}, timeout=20
    )
    result = {"status": status, "base": client._base_url, "scored": answered.status_code, "reply": answered.json()}
    print()  # the SDK leaves dots on the line
    print(json.dumps(result | {"requests": counted(credential, client._base_url, live.id)}))


def wait_for_job(client: MLClient, name: str) -> str:
    last = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < last:
        status = client.jobs.get(name).status  # an enum whose members equal their words
        if status in {"Completed", "Failed", "Canceled"}:
            return str(status.value)
        time.sleep(0.1)
    raise SystemExit(f"{name} did not end in {DEADLINE_SECONDS} s")


def counted(credential: DefaultAzureCredential, base: str, endpoint: str) -> float:
    now = datetime.now(UTC)
    span = f"{now - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}/{now + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    query = {"timespan": span, "interval": "PT1M", "metricnames": "RequestsPerMinute", "aggregation": "Total"}
    token = credential.get_token(f"{base.rstrip('/')}/.default").token
    answered = requests.get(
        f"{base.rstrip('/')}{endpoint}/providers/microsoft.insights/metrics",
        params=query | {"api-version": "2023-10-01"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=20,
    )
    series = answered.json()["value"][0]["timeseries"]
    return float(sum(point.get("total", 0) for one in series for point in one["data"]))


if __name__ == "__main__":
    main()
