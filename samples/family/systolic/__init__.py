"""A systolic array that multiplies by static weights in bfloat16, as a family of its own."""
