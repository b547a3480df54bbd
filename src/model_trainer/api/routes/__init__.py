"""Handlers: one to five lines that parse, ask an orchestrator or a port, and show the answer."""
