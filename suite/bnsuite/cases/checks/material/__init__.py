"""What the check families share: inputs, layouts, settings, states, and the arithmetic that results are held to."""
