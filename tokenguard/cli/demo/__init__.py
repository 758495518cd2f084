"""`tokenguard demo`: a runaway agent spends, then the same agent is stopped at its cap. Offline, over real HTTP."""
