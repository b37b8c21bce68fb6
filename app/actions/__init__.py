"""The verbs: one action, one transaction."""
