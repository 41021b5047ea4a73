"""Material shared by the check families: inputs, layouts, settings, states, and reference arithmetic."""
