"""What the API process and an engine process share: messages, options, and memory that outlives a
death. Imports no torch."""
