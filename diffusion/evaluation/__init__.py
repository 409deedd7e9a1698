"""How good a model is: its likelihood bound, and how near its samples are to the data."""
