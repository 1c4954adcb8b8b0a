"""
A small Functions host: runs a Python v2 app where Core Tools is not installed.

It plays the real host where an app can feel the difference: indexing rules, message leases, poison queues,
webhooks, timers. What it does not play is listed in README.md beside this file.
"""
