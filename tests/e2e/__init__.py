"""A package for pytest: what its tests share ends with them."""
