"""Stand-ins that keep the same promises as the real thing, and the tools to test with them."""
