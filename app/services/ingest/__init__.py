"""Reading a group's own FITS files into ObsCore rows."""
