"""
Sizes of virtual machines that Azure ML has, or had: cores, GPUs and memory are facts, which of them a region accepts is a world's.
"""

from __future__ import annotations

from typing import NamedTuple

SERVERLESS = "serverless"  # the word for compute without a cluster


class Size(NamedTuple):
    """One size of virtual machine, as the vmSizes operation lists it."""

    name: str
    family: str
    cores: int
    gpus: int
    memory_gb: float
    retired: bool = False  # Azure took the family away (compute, retired-sizes-list: NCv3 ended 2025-09-30)


# Cores, GPUs, memory: Azure's pages on the sizes. ND40rs_v2 has the same GPU as NCv3; that it went with it is taken from the registry.
SIZES = (
    Size("Standard_DS3_v2", "standardDSv2Family", 4, 0, 14.0),
    Size("Standard_D12_v2", "standardDv2Family", 4, 0, 28.0),
    Size("Standard_E4s_v3", "standardESv3Family", 4, 0, 32.0),
    Size("Standard_NC4as_T4_v3", "Standard NCASv3_T4 Family", 4, 1, 28.0),
    Size("Standard_NC8as_T4_v3", "Standard NCASv3_T4 Family", 8, 1, 56.0),
    Size("Standard_NC16as_T4_v3", "Standard NCASv3_T4 Family", 16, 1, 110.0),
    Size("Standard_NC64as_T4_v3", "Standard NCASv3_T4 Family", 64, 4, 440.0),
    Size("Standard_NC24ads_A100_v4", "StandardNCADSA100v4Family", 24, 1, 220.0),
    Size("Standard_NC48ads_A100_v4", "StandardNCADSA100v4Family", 48, 2, 440.0),
    Size("Standard_NC96ads_A100_v4", "StandardNCADSA100v4Family", 96, 4, 880.0),
    Size("Standard_NC40ads_H100_v5", "StandardNCadsH100v5Family", 40, 1, 320.0),
    Size("Standard_NC80adis_H100_v5", "StandardNCadsH100v5Family", 80, 2, 640.0),
    Size("Standard_ND96asr_v4", "standardNDASv4_A100Family", 96, 8, 900.0),
    Size("Standard_ND96amsr_A100_v4", "standardNDAMSv4_A100Family", 96, 8, 1900.0),
    Size("Standard_ND96isr_H100_v5", "standardNDv5H100Family", 96, 8, 1900.0),
    Size("Standard_NC6s_v3", "standardNCSv3Family", 6, 1, 112.0, retired=True),
    Size("Standard_NC12s_v3", "standardNCSv3Family", 12, 2, 224.0, retired=True),
    Size("Standard_NC24s_v3", "standardNCSv3Family", 24, 4, 448.0, retired=True),
    Size("Standard_NC24rs_v3", "standardNCSv3Family", 24, 4, 448.0, retired=True),
    Size("Standard_ND40rs_v2", "standardNDv2Family", 40, 8, 672.0, retired=True),
)
KNOWN = {size.name.lower(): size for size in SIZES}
