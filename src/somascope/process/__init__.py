"""Image -> image: windows, filters, enhancement, resampling."""
