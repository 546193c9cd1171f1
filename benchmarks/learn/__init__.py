"""Learning and trained models against named peers."""
