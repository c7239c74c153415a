"""A job and its life (UWS 1.1), without any store or clock."""
