"""
An emulator of the Azure ML control plane: what Tuneloop asks of Azure ML, answered on this laptop by real child processes.

Strict: what it does not know it refuses by name. `command` starts it; nothing heavy is imported before that.
"""

from localcloud.azureml.command import add_arguments, run

__all__ = ["add_arguments", "run"]
