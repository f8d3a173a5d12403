"""What a codec's process can reach: sealed by the kernel (Landlock, seccomp), and by Python's audit hook beside it."""
