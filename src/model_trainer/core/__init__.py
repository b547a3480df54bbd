"""The words all floors share. Imports nothing of ours above it, and no torch, redis or fastapi."""
