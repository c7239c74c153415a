"""``skyloom doctor``: looks at everything an operator can put right, says what to do, and mends the
difference between the tables and the files where it may."""
