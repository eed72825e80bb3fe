"""Clusterer: each weight takes few distinct values."""
