"""Deliveries: what host A does with a result beyond the inbox."""
