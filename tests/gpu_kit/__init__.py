"""``make gpu-kit``: a folder for a GPU host that reaches no package index.

It has the sources, the tests, the baselines and the wheels that such a host may lack. ``sh run.sh`` there makes an
environment without network and does the check of ``tests/gpu_check``.
"""
