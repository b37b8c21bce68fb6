"""Slipway: a registry and control plane for containerised services behind a GraphQL API."""
