"""A page in the browser, served on the user's own machine: paint, train, compare, camera."""
