"""One small file a contender, each with a class `Contender` (`worker.py` says what it offers)."""
