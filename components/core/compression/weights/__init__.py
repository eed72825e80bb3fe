"""The weights of a graph: which operation uses them, and how they are deployed."""
