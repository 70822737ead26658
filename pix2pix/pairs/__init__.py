"""Which files belong together, how they are split, made up and changed; what is learned of them."""
