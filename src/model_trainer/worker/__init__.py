"""What a job does: one file a job kind, dispatch, and the lifecycle all jobs share."""
