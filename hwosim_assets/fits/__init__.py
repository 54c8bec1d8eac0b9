"""What a JWST FITS file is: names, levels, headers, data-quality bits, safe opening."""
