"""What a request sets going. Never imports torch."""
