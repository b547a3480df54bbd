"""Door: the clock. The reaper and the cleanup of leftovers."""
