"""Image -> finding without learning: rules, components, measures."""
