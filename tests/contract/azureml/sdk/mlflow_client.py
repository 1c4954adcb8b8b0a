"""
What a person's notebook does: the stock MLflow client, led by MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN and REQUESTS_CA_BUNDLE alone.

Arguments: the run, its experiment. Prints JSON.
"""

import json
import sys

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


def main(run_id: str, experiment_name: str) -> None:
    client = MlflowClient()
    run = client.get_run(run_id)
    history = client.get_metric_history(run_id, "eval_loss")
    experiment = client.get_experiment_by_name(experiment_name)
    assert experiment is not None
    of_job = client.search_runs([experiment.experiment_id], f"tags.mlflow.rootRunId='{run_id}'")
    first = client.search_runs([experiment.experiment_id], max_results=2)
    second = client.search_runs([experiment.experiment_id], max_results=2, page_token=first.token)
    missing = ""
    try:
        client.get_run("nothing")
    except MlflowException as error:
        missing = f"{error.error_code}: {error.message}"
    found = {
        "status": run.info.status,
        "metrics": run.data.metrics,
        "params": run.data.params,
        "root": run.data.tags["mlflow.rootRunId"],
        "history": [[point.step, point.value] for point in history],
        "experiment": experiment.name,
        "runs": [one.info.run_name for one in of_job],
        "pages": [len(first), len(second), first[0].info.run_id != second[0].info.run_id],
        "missing": missing,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
