"""What is measured of the answers of models: pure functions over texts and numbers."""
