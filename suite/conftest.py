"""Lets ``pytest suite --device cpu`` run the cases with nothing but pytest-benchmark."""

pytest_plugins = ["bnsuite.measure.plugin"]
