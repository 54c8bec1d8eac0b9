"""MAST and archives that speak like it: asking, downloading, serving a folder, writing a sample."""
