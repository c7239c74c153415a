"""What to build, as data: asked (request), what (recipe), how (plan), done (report)."""
