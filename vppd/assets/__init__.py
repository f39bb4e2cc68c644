"""What members own, as small models with limits: plants, loads, stores, vehicles; integers only."""
