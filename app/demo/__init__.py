"""A simulated survey, so that the service can be tried without any data of one's own."""
