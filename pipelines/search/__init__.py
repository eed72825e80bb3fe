"""The search of a deployment tree that has more routes than can be made."""
