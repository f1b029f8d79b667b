"""Arrays to encoder inputs: pure functions, tensors in and tensors out."""
