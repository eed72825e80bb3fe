"""Kernels of many zeros, stored so that XNNPACK computes with what is not zero."""
