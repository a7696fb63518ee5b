"""Models on this machine: the only code that imports torch."""
