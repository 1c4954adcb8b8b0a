"""
The loop: read a record, observe its world, decide, do one bounded thing, write down. The only room that calls ports.

`arrivals` opens records and rings; `turn` is one pass; `tunings`, `trainings` and `services` observe and act for one kind
of record; `timers` takes up what was lost and looks at the whole fleet. What to do is decided in `shared.domain`.
"""
