"""From a body of any encoding to a clip in the memory of the engine; knows no HTTP library."""
