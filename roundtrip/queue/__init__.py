"""Message brokers: job names go in, workers take them out; no message is the truth."""
