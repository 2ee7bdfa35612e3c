"""What a landscape needs of models: opening them, naming planes, and processes that measure side by side."""
