"""What can be run from here: weights on this disk, servers on this machine, providers whose keys are set."""
