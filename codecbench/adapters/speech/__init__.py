"""Speech recognised by connectionist temporal classification: decoded from logits, and compared with what was said."""
