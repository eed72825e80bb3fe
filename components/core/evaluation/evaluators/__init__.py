"""What runs inside TFMA, on Beam."""
