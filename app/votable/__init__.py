"""VOTable documents, as streams of bytes."""
