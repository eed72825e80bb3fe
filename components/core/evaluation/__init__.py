"""One run, and its judgement."""
