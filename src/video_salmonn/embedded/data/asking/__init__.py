"""Questions as people put them: kinds of questions, each over all media that it suits, in balanced numbers."""
