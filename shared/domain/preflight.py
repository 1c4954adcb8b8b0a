"""
What would fail after the money is spent is said before: a frozen recipe is held against what Azure showed.

Only facts that need no further call are judged here; quota and prices are not looked at yet.
"""

from __future__ import annotations

from shared.domain.recipe import Catalogue

RETIRED_FAMILIES = (  # Azure compute, retired-sizes-list: NCv3 ended 2025-09-30; K80 and P40 families before it
    "standard_nc6s_v3", "standard_nc12s_v3", "standard_nc24s_v3", "standard_nc24rs_v3",
    "standard_nc6", "standard_nc12", "standard_nc24", "standard_nd6s", "standard_nd12s", "standard_nd24s",
)  # fmt: skip


def faults(catalogue: Catalogue, *, serving_instance_type: str) -> tuple[str, ...]:
    """Return a sentence for each thing that would make the paid work fail; () when nothing is known against it."""
    found = []
    if catalogue.gpus < 1:
        found.append(f"{catalogue.instance_type} has no GPU and fine-tuning needs one: set COMPUTE or FINETUNE_INSTANCE_TYPE.")
    for setting, size in (("COMPUTE or FINETUNE_INSTANCE_TYPE", catalogue.instance_type), ("SERVING_INSTANCE_TYPE", serving_instance_type)):
        if size.lower() in RETIRED_FAMILIES:
            found.append(f"{size} is retired in Azure: choose another size with {setting}.")
    if "train_file_path" not in catalogue.component_inputs:
        found.append("The component has no input train_file_path, so it is not a chat fine-tuning pipeline: check FINETUNE_COMPONENT.")
    return tuple(found)
