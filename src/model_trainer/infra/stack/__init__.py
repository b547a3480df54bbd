"""The embedded stack: a Redis-compatible server that pip brings along, and process supervision."""
