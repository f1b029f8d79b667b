"""What each ingredient of the small model gives: it is trained without one of them, alike otherwise."""
