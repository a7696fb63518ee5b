"""The only code that talks to models: requests go in, journalled replies come out."""
