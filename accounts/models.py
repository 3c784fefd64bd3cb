"""People's API tokens, limits and what they did."""
