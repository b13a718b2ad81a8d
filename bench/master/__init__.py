"""The figures of the master: what it costs, each as a ratio to a peer measured in the same run.

    python -m bench.master            everything, in less than ten minutes
    python -m bench.master --quick    the same with fewer and smaller samples, in less than 90 seconds
    python -m bench.master --only memory,idle

Subjects take turns, so that what else the machine does falls on all of them, and the baseline takes two
turns in each round: what it differs from itself is the noise.
"""
