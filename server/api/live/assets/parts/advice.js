// Which figures are red, and what to change. docs/operations.md ("Tuning") says more about each flag.

const NEARLY = 0.8;
const SLOW_DECODE = 1;

// `now`: the current row by name. Returns the name of each red figure with a sentence.
export function advice(now, { status, limits }) {
  const rules = [
    ["status", status !== "healthy",
      `The service is ${status}. While it is loading, wait; when it is unhealthy, its log says which engine was lost.`],
    ["refused_per_s", now.refused_per_s > 0,
      "Clips are refused or late. If the engine keeps up on average, raise --queue-size; otherwise send fewer clips (a larger stride, fewer frames a second), or add a GPU with --device."],
    ["queue_clips", now.queue_clips > NEARLY * limits.queue_size,
      "The queue is nearly full: the engine is slower than what is asked. Use a larger stride, an engine of lower precision, or another GPU."],
    ["inflight_bytes", now.inflight_bytes > NEARLY * limits.max_inflight_bytes,
      "Nearly all memory for requests is in use: raise --max-inflight-mb, or have clients send smaller frames; larger ones gain nothing."],
    ["streams", now.streams > NEARLY * limits.max_streams,
      "Nearly as many streams are open as there may be: raise --max-streams together with --max-inflight-mb."],
    ["total_ms", now.decode_ms > SLOW_DECODE && now.decode_ms > now.infer_ms,
      "Decoding takes longer than the network: raise --decode-threads if cores are idle, or have clients send smaller frames."],
    ["slowest_ms", now.slowest_ms > NEARLY * limits.deadline_ms,
      "Answers come close to the deadline: lower --queue-size so that clients are refused early, or raise --deadline-ms."],
  ];
  return rules.filter(([, isRed]) => isRed).map(([figure, , text]) => ({ figure, text }));
}
