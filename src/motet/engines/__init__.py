"""What runs a graph: inline in one process, locally as supervised processes, later on a cluster."""
