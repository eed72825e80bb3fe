"""What weights have to satisfy, and how they are made to."""
