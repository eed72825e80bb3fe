"""Candidate and baseline, checked against each other before anything runs."""
