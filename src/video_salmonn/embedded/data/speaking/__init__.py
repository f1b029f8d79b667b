"""The neural voices in bulk: their ONNX graphs run by torch on any device, whole manifests spoken into shards."""
