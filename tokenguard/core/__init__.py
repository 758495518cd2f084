"""Values and protocols: money, usage, price, budget, verdict, receipt, events, ports. No I/O, no clock, no globals."""
