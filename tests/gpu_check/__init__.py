"""``make gpu-check``: everything that a GPU can tell in ten minutes, the most telling first, into one folder.

Each step is a process of its own with a limit, and its output is written as it comes. Whenever it is cut off, what was
done so far can be read: ``summary.json`` is replaced after each step, and the logs are never held back.

Only ``steps.py`` and ``preflight.py`` know of bnsuite; the rest needs the standard library alone.
"""
