"""What is run by hand or in CI; nothing in `protocol/` imports it."""
