"""What is exposed (METRICS) and what people ask of it (SIGNALS); everything else is made from these."""
