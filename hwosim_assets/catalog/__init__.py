"""From raw files to validated rows: header cards, product rows, quarantine, search."""
