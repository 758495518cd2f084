"""Rounds of kills, outages and cuts: a plan from a seed, the processes that suffer it, and the checks after it."""
