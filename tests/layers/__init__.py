"""The layers against the reference loops, an outside suite, and the laws they obey."""
