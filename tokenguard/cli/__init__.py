"""The command line: `tokenguard <noun> <verb>`. Exit codes: 0 all is well, 1 a finding, 2 asked wrongly."""
