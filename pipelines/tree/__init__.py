"""The deployment tree: all routes from a Trainer's model to a file, and the selector at their end."""
