"""How the service does: its state, its figures, what went wrong of late; for its operator."""
