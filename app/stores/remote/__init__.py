"""Files behind HTTP(S) addresses and in S3-style object stores: what is needed of them is kept."""
