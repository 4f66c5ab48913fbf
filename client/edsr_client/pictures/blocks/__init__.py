"""The blocks of metadata that picture files carry: EXIF, XMP, Photoshop's with IPTC, and where files keep them."""
