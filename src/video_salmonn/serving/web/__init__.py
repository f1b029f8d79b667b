"""The web page: one clip a visitor, questions and streamed answers about it, and what was seen and heard."""
