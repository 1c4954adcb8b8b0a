"""
The app as it is deployed, as processes that are killed: tier C of the simulation.

`python -m tests.processes` runs loops of it; what a loop does is drawn from its seed (plan.py), what goes wrong between the app and the
outside goes wrong in a proxy of ours (proxy.py), and what came of it is counted from what was really asked and answered (count.py).
"""
