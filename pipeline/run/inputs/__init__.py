"""Files that rows are taken in from: which there are, and how each is read within bounds."""
