"""`roundtrip doctor`: looks at everything an agent needs, and says what is wrong and what mends it.

It changes nothing, works with and without a running agent, and never waits long: whatever may hang
is looked at by a process that can be given up.
"""
