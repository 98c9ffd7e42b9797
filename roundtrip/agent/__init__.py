"""The agent: wake, observe, next step, act; start, stop, supervise."""
