"""
The gate: positive proof that a candidate may take traffic. Missing proof means no.

So far the only proof is a smoke test, answered by the deployment itself before it has any traffic. Scores on held-out
rows and the comparison with the champion belong here too, as further fields of `Proof`.
"""

from __future__ import annotations

import msgspec

from shared.domain.structs import learn


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a candidate; None: not looked at yet."""

    smoke_passed: bool | None = None


learn(Proof)


def may_take_traffic(proof: Proof) -> bool:
    return proof.smoke_passed is True
