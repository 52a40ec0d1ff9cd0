"""What every engine shares: replicas and their queues, batching, calling, routing and lifecycles."""
