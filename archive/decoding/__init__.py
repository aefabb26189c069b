"""Videos become windows of frames, in processes of their own beside the engine."""
