"""EdgeSelector: chooses the best of several evaluated files."""
