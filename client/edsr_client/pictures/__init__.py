"""Picture files to arrays and back, with what they carry besides pixels."""
