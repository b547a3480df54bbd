"""Runs under fire: real processes killed at random moments, and an oracle that forgives nothing.

`make chaos N=500 SEED=1 REPORT=benchmarks/reports/chaos.json`, or `python -m tests.chaos --help`.
"""
