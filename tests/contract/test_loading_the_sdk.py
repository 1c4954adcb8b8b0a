"""azure-ai-ml asks for its cloud's metadata while it is imported: an answer that is lost then costs one try, and not the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOADED_AT_THE_SECOND_TRY = """
import os, sys, threading
from shared import errors
from shared.cloud import clients

def tried():
    try:
        clients.load_sdk()
    except errors.TryLater as error:
        said.append(str(error))

said = []
threads = [threading.Thread(target=tried) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(said) == 3 and all("could not be loaded (MlException)" in one for one in said), said
assert not [name for name in sys.modules if name.startswith("azure.ai.ml")]

os.environ["AZUREML_CURRENT_CLOUD"] = "AzureCloud"  # the SDK knows it by itself: as if the metadata had come
clients.load_sdk()
from azure.ai.ml import Input, command
from azure.ai.ml.entities import ManagedOnlineDeployment, Model, PipelineJob

job = command(command="ls", environment="azureml:e:1", compute="c", inputs={"a": Input(type="uri_file", path="azureml:a:1")})
pipeline = PipelineJob(jobs={"node": job})
assert "uri_file" in str(pipeline._to_rest_object().as_dict())

from azure.ai.ml._utils import _asset_utils
with _asset_utils.tqdm(total=1) as bar: assert bar.disable  # no bar in a host's log, and no thread beside it
assert threading.active_count() == 1
print("loaded")
"""


def test_an_import_that_broke_in_the_middle_begins_afresh_at_the_next_try():
    """Method: nobody answers at the metadata's address, for three threads at once; then the cloud is one that needs none."""
    steered = {"AZUREML_CURRENT_CLOUD": "LocalCloud", "ARM_CLOUD_METADATA_URL": "http://127.0.0.1:9/metadata", "NO_PROXY": "127.0.0.1"}
    ended = subprocess.run(
        [sys.executable, "-c", LOADED_AT_THE_SECOND_TRY],
        cwd=ROOT,
        env={**os.environ, **steered},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert ended.stdout.endswith("loaded\n"), ended.stderr
