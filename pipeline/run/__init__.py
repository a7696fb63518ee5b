"""From a recipe to a run directory: `prepare` looks at everything, `execute` does the work."""
