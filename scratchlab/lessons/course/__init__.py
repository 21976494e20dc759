"""The lessons, one module each: exercises, with how the kernel is asked about an answer, and points to jump to."""
