"""What a model costs and where it lies: parameters, memory, placement on devices, packed layers, arithmetic."""
