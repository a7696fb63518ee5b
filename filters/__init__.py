"""Pure functions over columns: a verdict for every row. Imports nothing of `pipeline`."""
