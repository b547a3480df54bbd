"""Bytes and folders: the artifact tree and the data root."""
