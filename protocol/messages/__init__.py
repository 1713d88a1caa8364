"""The closed list of wire messages, one module per document."""
