"""Facts by run id: the run store, its scripts, events, the worker registry."""
