"""Labelled texts: tables read row by row, labels proven, duplicates left out, split by source document."""
