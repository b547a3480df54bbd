"""A detector's life: data, tokenizer, training, and the stages after it. The stages know no queue and no records."""
