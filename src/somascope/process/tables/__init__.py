"""Values counted and looked up, on torch tensors."""
