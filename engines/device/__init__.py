"""What every engine on a torch device shares: lanes, streams, CUDA graphs, page-locked memory."""
