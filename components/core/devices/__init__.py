"""What tools for devices report of a file."""
