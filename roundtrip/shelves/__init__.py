"""What `roundtrip quarantine` reads and does: failed/ on host A, quarantine/ on host B."""
