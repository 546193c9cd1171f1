"""What the viewer asks about learning: models and what can be said of them, the next cases."""
