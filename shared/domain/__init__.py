"""What is true: pure values and decisions. No SDK, no files, no clock, no chance in this room."""
