"""The shipped adapters and the unmodified SDKs over services in this process, under the scheduler of the simulation."""

from shared.cloud import clients

clients.load_sdk()  # as the app does, before anything here imports azure-ai-ml
