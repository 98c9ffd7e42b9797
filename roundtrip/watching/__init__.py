"""`roundtrip watch`: one command run for each file of a folder, once, without any agent."""
