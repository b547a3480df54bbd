"""Adapters: each folder holds the real ones and the fake that ships (memory.py)."""
