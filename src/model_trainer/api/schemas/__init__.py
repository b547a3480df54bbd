"""What leaves: views of records, pages, problems. Request bodies that are specs live in core."""
