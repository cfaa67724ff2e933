"""Reports: certificates and measurements as tables, words and figures. Nothing is computed here that is claimed."""
