"""Where units of work run: transport only. `codecbench.harness.units` says what a unit is, and runs it."""
