"""The effects, one module per family; importing a module registers its effects."""
