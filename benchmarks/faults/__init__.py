"""The fault drill: processes are killed at random moments under load, then all is counted."""
