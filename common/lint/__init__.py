"""What is wrong with the cases of a data set, said before a training finds out."""
