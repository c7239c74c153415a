"""A service under the load of many clients at once."""
