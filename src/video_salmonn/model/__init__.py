"""The Hugging Face side: configuration, processor and the model that joins media, core and language model."""
