"""
What Azure ML takes in a body and in a query, as types: everything that Microsoft's published types have, and nothing else.

One file a resource. A shape says what Azure takes; what of it the local cloud plays, its handlers say (501). Pure: msgspec, and the
refusal of `wire`.
"""
