"""Claim, observe, plan, apply, record: what makes the world equal to what is wanted."""
