"""The shipped adapters and the unmodified SDKs over services in this process, under the scheduler of the simulation."""
