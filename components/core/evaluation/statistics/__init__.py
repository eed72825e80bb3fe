"""Exact sums, bootstraps and paired tests over examples."""
