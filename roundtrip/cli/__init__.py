"""The commands: one small file each; only they print."""
