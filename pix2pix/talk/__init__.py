"""What is said to a person, and how they say stop; errors in one line; files written whole."""
