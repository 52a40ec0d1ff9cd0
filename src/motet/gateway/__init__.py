"""The HTTP front door: a hand-written hot path for endpoints, and an ordinary ASGI app beside it for everything else."""
