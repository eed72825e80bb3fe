"""`make test-fresh`: the installation and the demo of README.md on bare machines."""
