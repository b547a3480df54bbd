"""What the bot shows, made of text that is safe to send."""
