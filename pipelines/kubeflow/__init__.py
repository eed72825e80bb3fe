"""The same pipeline on a cluster: open-source Kubeflow Pipelines 2, and Vertex AI."""
