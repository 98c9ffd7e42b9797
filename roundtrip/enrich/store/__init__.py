"""What B must not forget: paid answers, tickets of jobs under way, and what is spent of quotas."""
