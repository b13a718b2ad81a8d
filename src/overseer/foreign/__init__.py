"""`overseer run`: any executable as the program, without a line of code."""
