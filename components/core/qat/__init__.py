"""Where compression meets the file: which arithmetic the deployed file has, and whether the simulation is that."""
