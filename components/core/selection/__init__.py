"""Which of several evaluated files ships, and the picture of them all."""
