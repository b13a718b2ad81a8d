"""The command line `overseer`: a thin shell over what the other rooms do; needs the extra `cli`."""
