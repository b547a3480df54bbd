"""What the owner can ask for, whatever library carries it."""
