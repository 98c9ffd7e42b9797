"""A server that speaks broken HTTP, and what each fault means for a record."""
