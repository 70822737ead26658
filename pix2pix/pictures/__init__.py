"""Any picture file ↔ pixels ↔ values from -1 to 1; and what the pictures of a side mean."""
