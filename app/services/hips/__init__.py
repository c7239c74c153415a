"""Progressive surveys (HiPS): a collection as tiles of ever finer pixels."""
