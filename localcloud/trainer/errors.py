"""What can go wrong in a training or a deployment, as a sentence for the person who can act on it."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass
class TrainerError(Exception):
    """Ends the process with exit code 1; the sentence is the last line of stderr."""

    message: str
    code: str = "UserError"  # Azure ML's own two words: UserError (fix the input) or SystemError (ours)

    def __str__(self) -> str:
        return self.message

    def line(self) -> str:
        """The one line that the emulator reads."""
        return json.dumps({"error": {"code": self.code, "message": self.message}})


class UserError(TrainerError):
    """The dataset or an input has to change before another try can succeed."""


class BrokenModel(TrainerError):
    """The model folder cannot be loaded; another model has to be deployed."""
