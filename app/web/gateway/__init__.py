"""The endpoints of workloads: who gets through, what goes on, and the connections to the replicas."""
