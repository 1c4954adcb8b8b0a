"""
What Microsoft's tutorial on chat fine-tuning asks of Azure, call by call and in its order, in our own words. Prints JSON at the end.

Run in a folder of its own, in an environment that only the env file has steered. Each function stands for one code block of the page;
they hand on what the page's blocks share as global names.
"""

from __future__ import annotations

import ast
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
from azure.ai.ml import Input, MLClient
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.dsl import pipeline
from azure.ai.ml.entities import (
    AmlCompute,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
    ProbeSettings,
)
from azure.identity import DefaultAzureCredential, InteractiveBrowserCredential

CLUSTER = os.environ.get("SEED_CLUSTER", "gpu-cluster-big")
CLUSTER_SIZE = os.environ.get("SEED_CLUSTER_SIZE", "Standard_ND40rs_v2")
SERVING_SIZE = os.environ.get("SEED_SERVING_SIZE", "Standard_NC6s_v3")
DATA = Path("./ultrachat_200k_dataset")


def connect(page: SimpleNamespace) -> None:
    try:
        page.credential = DefaultAzureCredential()
        page.credential.get_token("https://management.azure.com/.default")
    except Exception:  # noqa: BLE001 - as wide as the page catches; so are the others
        page.credential = InteractiveBrowserCredential()
    try:
        page.workspace = MLClient.from_config(credential=page.credential)
    except Exception:  # noqa: BLE001
        page.told["config"] = "missing"
        page.workspace = MLClient(
            page.credential,
            subscription_id=os.environ["AZURE_SUBSCRIPTION_ID"],
            resource_group_name=os.environ["AZURE_RESOURCE_GROUP"],
            workspace_name=os.environ["AZUREML_WORKSPACE"],
        )
    page.registry = MLClient(page.credential, registry_name="azureml")
    page.timestamp = str(int(time.time()))


def pick_the_model(page: SimpleNamespace) -> None:
    page.model_name = "Phi-3-mini-4k-instruct"
    page.base = page.registry.models.get(page.model_name, label="latest")
    print(f"Using {page.base.name}, {page.base.version}, {page.base.id}")
    page.told["base"] = [page.base.name, page.base.version, page.base.id]


def read_the_allow_list(page: SimpleNamespace) -> None:
    given = page.base.tags.get("finetune_compute_allow_list")
    page.allowed = None if given is None else ast.literal_eval(given)
    page.told["allowed"] = page.allowed


def make_the_cluster(page: SimpleNamespace) -> None:
    try:
        page.workspace.compute.get(CLUSTER)
    except Exception as missing:  # noqa: BLE001
        page.told["missing"] = type(missing).__name__
        try:
            page.workspace.compute.begin_create_or_update(cluster("Dedicated", page.refused_first)).wait()
        except Exception as refused:  # noqa: BLE001
            page.told["refused"] = str(refused)
            page.workspace.compute.begin_create_or_update(cluster("LowPriority")).wait()


def cluster(tier: str, size: str | None = None) -> AmlCompute:
    return AmlCompute(name=CLUSTER, size=size or CLUSTER_SIZE, tier=tier, max_instances=2)


def count_its_gpus(page: SimpleNamespace) -> None:
    compute = page.workspace.compute.get(CLUSTER)
    assert compute.provisioning_state.lower() != "failed"
    if page.allowed is not None:
        assert compute.size.lower() in [size.lower() for size in page.allowed]
    sizes = {size.name.lower(): size.gpus for size in page.workspace.compute.list_sizes()}
    page.gpus = sizes[compute.size.lower()]
    page.told["compute"] = [compute.size, compute.tier, compute.max_instances, page.gpus]


def look_at_the_data(page: SimpleNamespace) -> None:
    page.told["rows"] = len(pd.read_json(DATA / "train_sft.jsonl", lines=True).head())


def choose_parameters(page: SimpleNamespace) -> None:
    page.parameters = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "learning_rate": 5e-6,
        "lr_scheduler_type": "cosine",
        "apply_lora": "true",
        "apply_deepspeed": "true",
        "deepspeed_stage": 2,
    }
    if "model_specific_defaults" in page.base.tags:
        page.parameters |= ast.literal_eval(page.base.tags["model_specific_defaults"])


def name_the_run(page: SimpleNamespace) -> None:
    batch = int(page.parameters["per_device_train_batch_size"]) * int(page.parameters["gradient_accumulation_steps"]) * page.gpus
    shown = f"ultrachat-bs{batch}-{page.parameters['lr_scheduler_type']}-ds{page.parameters['deepspeed_stage']}-lora"
    page.run_name = f"{page.model_name}-{shown}-save_limit{page.parameters['save_total_limit']}-seqlen-1"


def build_the_job(page: SimpleNamespace) -> None:
    component = page.registry.components.get(name="chat_completion_pipeline", label="latest")

    @pipeline(name=page.run_name)
    def tuning() -> dict[str, Any]:
        node = component(
            mlflow_model_path=page.base.id,
            compute_model_import=CLUSTER,
            compute_preprocess=CLUSTER,
            compute_finetune=CLUSTER,
            compute_model_evaluation=CLUSTER,
            train_file_path=Input(type="uri_file", path="./ultrachat_200k_dataset/train_sft.jsonl"),
            test_file_path=Input(type="uri_file", path="./ultrachat_200k_dataset/test_sft.jsonl"),
            number_of_gpu_to_use_finetuning=page.gpus,
            **page.parameters,
        )
        return {"trained_model": node.outputs.mlflow_model_folder}

    page.pipeline = tuning()
    page.pipeline.settings.force_rerun = True
    page.pipeline.settings.continue_on_step_failure = False


def run_the_job(page: SimpleNamespace) -> None:
    page.job = page.workspace.jobs.create_or_update(page.pipeline, experiment_name="chat_completion_Phi-3-mini-4k-instruct")
    page.workspace.jobs.stream(page.job.name)
    ended = page.workspace.jobs.get(page.job.name)
    print("outputs:", ended.outputs)
    page.told["job"] = [page.job.name, str(ended.status), sorted(ended.outputs), ended.display_name]


def register_the_model(page: SimpleNamespace) -> None:
    wanted = Model(
        path=f"azureml://jobs/{page.job.name}/outputs/trained_model",
        type=AssetTypes.MLFLOW_MODEL,
        name=f"{page.model_name}-ultrachat-200k",
        version=page.timestamp,
        description=f"{page.model_name} tuned on ultrachat",
    )
    print("to register:", wanted)
    page.model = page.workspace.models.create_or_update(wanted)
    print("registered:", page.model)
    page.told["model"] = [page.model.name, page.model.version == page.timestamp]


def make_the_endpoint(page: SimpleNamespace) -> None:
    page.endpoint_name = "ultrachat-completion-" + page.timestamp
    page.endpoint = ManagedOnlineEndpoint(name=page.endpoint_name, description=f"Serves {page.model.name}", auth_mode="key")
    page.workspace.begin_create_or_update(page.endpoint).wait()


def deploy(page: SimpleNamespace) -> None:
    given = page.base.tags.get("inference_compute_allow_list")
    page.told["serving_allowed"] = given is None or SERVING_SIZE in ast.literal_eval(given)
    deployment = ManagedOnlineDeployment(
        name="demo",
        endpoint_name=page.endpoint_name,
        model=page.model.id,
        instance_type=SERVING_SIZE,
        instance_count=1,
        liveness_probe=ProbeSettings(initial_delay=600),
        request_settings=OnlineRequestSettings(request_timeout_ms=90000),
    )
    page.workspace.online_deployments.begin_create_or_update(deployment).wait()
    page.endpoint.traffic = {"demo": 100}
    page.told["traffic"] = page.workspace.begin_create_or_update(page.endpoint).result().traffic


def take_a_sample(page: SimpleNamespace) -> None:
    rows = pd.read_json(DATA / "test_gen.jsonl", lines=True).sample(n=1)
    rows.reset_index(drop=True, inplace=True)
    wish = {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_new_tokens": 200}
    question = {"input_data": {"input_string": [rows["messages"][0]], "parameters": wish}, "params": {}}
    (DATA / "sample_score.json").write_text(json.dumps(question))


def ask(page: SimpleNamespace) -> None:
    page.told["reply"] = page.workspace.online_endpoints.invoke(
        endpoint_name=page.endpoint_name, deployment_name="demo", request_file="./ultrachat_200k_dataset/sample_score.json"
    )


def clear_away(page: SimpleNamespace) -> None:
    page.workspace.online_endpoints.begin_delete(name=page.endpoint_name).wait()
    page.told["left"] = [one.name for one in page.workspace.online_endpoints.list()]


BLOCKS = (
    connect, pick_the_model, read_the_allow_list, make_the_cluster, count_its_gpus, look_at_the_data, choose_parameters, name_the_run,
    build_the_job, run_the_job, register_the_model, make_the_endpoint, deploy, take_a_sample, ask, clear_away,
)  # fmt: skip


def main() -> None:
    page = SimpleNamespace(told={"base_url": None}, refused_first=os.environ.get("SEED_REFUSED_SIZE"))
    for block in BLOCKS:
        began = time.monotonic()
        try:
            block(page)
        except Exception as error:  # noqa: BLE001 - whatever stops a block is what a test wants to know
            page.told |= {"stopped": block.__name__, "why": f"{type(error).__name__}: {error}"}
            break
        page.told.setdefault("seconds", {})[block.__name__] = round(time.monotonic() - began, 2)
    page.told["base_url"] = page.workspace._base_url
    print()  # the SDK leaves dots on the line
    print(json.dumps(page.told))


if __name__ == "__main__":
    main()
