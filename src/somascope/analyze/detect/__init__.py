"""Detection without learning: blobs, tubes, asymmetry, and candidates judged by rules."""
