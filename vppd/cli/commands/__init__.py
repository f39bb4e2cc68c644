"""What commands there are, a module for each part of the tree."""
