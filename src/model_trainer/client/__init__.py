"""The typed HTTP client of the command line (and, later, of the Discord bot)."""
