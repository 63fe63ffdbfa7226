"""The pure state machine: commands in, outcomes out. No I/O, no time, no chance, no configuration."""
