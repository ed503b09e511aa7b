"""The flight recorder: a ledger of every collective, and the watchdog that reports waiting ranks."""
