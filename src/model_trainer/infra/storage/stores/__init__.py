"""Where files live for good, by the digest of their content."""
