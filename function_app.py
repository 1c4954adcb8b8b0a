"""
The doors: every trigger is a doorbell. A door hands on who rang and returns; what to do is decided in `shared.domain`.

Nothing heavy is imported here: one failing or slow import leaves the app without any function.
"""

from __future__ import annotations

import azure.functions as func
from azurefunctions.extensions.bindings import blob

from shared import doors

app = func.FunctionApp()


@app.blob_trigger(arg_name="upload", path="%DATASETS_CONTAINER%/{name}", connection="DATASETS", source=func.BlobSource.EVENT_GRID)
def dataset_blob_uploaded(upload: blob.BlobClient) -> None:
    doors.dataset_written(upload.container_name, upload.blob_name, who="dataset_blob_uploaded")


@app.event_grid_trigger(arg_name="event")
def dataset_event_received(event: func.EventGridEvent) -> None:
    doors.dataset_event(event, who="dataset_event_received")


@app.event_grid_trigger(arg_name="event")
def job_event_received(event: func.EventGridEvent) -> None:
    doors.job_event(event, who="job_event_received")


@app.queue_trigger(arg_name="message", queue_name="%TURNS_QUEUE%", connection="AzureWebJobsStorage")
def take_turn(message: func.QueueMessage) -> None:
    doors.take_turn(message.get_body())


@app.queue_trigger(arg_name="message", queue_name="%TURNS_QUEUE%-poison", connection="AzureWebJobsStorage")
def turn_poisoned(message: func.QueueMessage) -> None:
    doors.turn_poisoned(message.get_body())


@app.timer_trigger(arg_name="timer", schedule="%LOOK_AGAIN_SCHEDULE%", run_on_startup=False, use_monitor=True)
def look_again(timer: func.TimerRequest) -> None:
    doors.look_again(who="look_again")


@app.timer_trigger(arg_name="timer", schedule="%TEAR_DOWN_SCHEDULE%", run_on_startup=False, use_monitor=True)
def tear_down_idle_endpoints(timer: func.TimerRequest) -> None:
    doors.tear_down_idle_endpoints(who="tear_down_idle_endpoints")
