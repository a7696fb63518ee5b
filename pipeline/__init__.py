"""Make and curate instruction-tuning data."""
