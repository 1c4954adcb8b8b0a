"""The shipped loop, lived through bad days that one integer draws: see docs/simulation.md."""
