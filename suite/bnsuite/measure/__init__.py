"""The measuring of cases, inside the environment that is judged. Nothing of the outer half is imported here.

``devices/`` is the one place that knows a CPU from a GPU, ``timed_case.py`` the one maker of timing samples.
``items/`` holds the pytest-benchmark items of a run, with ``plugin.py`` for pytest; ``worker.py`` answers all other
requests over stdin and stdout.
"""
