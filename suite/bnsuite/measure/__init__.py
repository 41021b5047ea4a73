"""How cases are measured, inside the environment that is judged.

``items/`` holds the pytest-benchmark items of a timing launch and ``plugin.py`` what they need of pytest;
``worker.py`` answers everything else over stdin and stdout. Nothing of the outer half is imported here.
"""
