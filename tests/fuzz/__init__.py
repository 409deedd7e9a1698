"""Damaged and hostile inputs, made by the hundred thousand: `make fuzz`."""
