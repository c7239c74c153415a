"""Pure geometry of directions on the sphere. Degrees in, ICRS throughout."""
