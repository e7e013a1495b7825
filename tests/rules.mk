# What is run and checked.
