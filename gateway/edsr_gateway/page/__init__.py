"""The page that people use: plain HTML, CSS and modules, served as they lie here."""
