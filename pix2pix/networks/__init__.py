"""What goes beyond the paper's networks or runs them faster, and what they run on."""
