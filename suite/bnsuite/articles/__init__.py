"""The five articles that bnsuite grew out of: what they claim, and the pictures they draw."""
