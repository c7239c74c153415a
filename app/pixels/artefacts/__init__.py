"""What one exposure shows and the others do not: cosmic rays, trails, ghosts, moving objects."""
