"""The contract engine (P1 §3.2): small state machines that members call and time fires."""
