"""The probe port: startup, readiness and liveness, the checks behind them, and what asks them."""
