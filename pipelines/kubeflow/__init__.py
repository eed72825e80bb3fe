"""Compiles and runs pipelines for a cluster: open-source Kubeflow Pipelines 2, and Vertex AI."""
