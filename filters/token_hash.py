"""The numbers by which texts are hashed: the same for both engines of `filters.shingles`."""

# Kinds of characters, for the compiled engine; NEW is one that was not met before.
NEW, WORD, SINGLE, SEPARATOR, UNSEEN, END = range(6)

WORD_START = 0x9E3779B97F4A7C15
WORD_FACTOR = 0xFF51AFD7ED558CCD
RUN_FACTOR = 0x9FB21C651E98DF25
LAST_FACTOR = 0xC4CEB9FE1A85EC53
