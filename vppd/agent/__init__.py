"""A bidding agent beside a member's daemon: forecast, plan, quote, deliver (P0, §2.1; P3, §3.1)."""
