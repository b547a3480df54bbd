"""What crosses a boundary: specs, records, jobs, events, manifests. Values only, no behaviour."""
