"""Language models that are asked: text continued, text measured, conversations. Blind to families, queues and HTTP."""
