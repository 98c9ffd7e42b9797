"""What each side of an exchange does: the requester, the responder, and what both share."""
