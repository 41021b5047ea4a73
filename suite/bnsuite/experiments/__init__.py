"""Procedures that measure, judge and decide whether to go on: a run, a comparison, and what is made of them.

Each takes a frozen request and a function that is notified of events, prints nothing, and returns a frozen result.
"""
