"""What is told from images without learning."""
