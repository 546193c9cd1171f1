"""Shape: statistical models of it learnt from masks, search with them, cleaning and checking."""
