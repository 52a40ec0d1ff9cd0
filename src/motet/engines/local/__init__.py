"""The local engine: a supervisor, a gateway, a zygote and replicas as processes of one machine."""
