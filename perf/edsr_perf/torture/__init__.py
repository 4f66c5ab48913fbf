"""Any folder of picture files through `edsr batch`, and every result against a second decoder's view of its source."""
