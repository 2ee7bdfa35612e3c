"""What is kept on this disk: calls, answers and recordings, and where."""
