"""Tables as frames of numbers and as they are printed, and what is computed for them."""
