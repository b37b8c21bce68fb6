"""A Kubernetes API server with the controllers that a Deployment needs, in memory, as the recordings show them.

`server.FakeCluster` is what tests use. test_fake.py holds its answers against recorded ones.
"""
