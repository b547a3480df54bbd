"""Hands over work: RQ behind a typed queue."""
