"""Ask, chat, batch and stream: encode media once, ask many times."""
