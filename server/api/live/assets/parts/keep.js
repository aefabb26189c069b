// A timeline as a file: JSON and CSV have every answer, WebVTT has subtitles for a video player.

const HEADS = ["window", "start_s", "end_s", "label", "confidence", "age_ms", "total_ms"];

export function asJson(name, answers) {
  const kept = answers.map(({ window, start_s, end_s, predictions, age_ms, timings_ms }) => (
    { window, start_s, end_s, predictions, age_ms, timings_ms }));
  return JSON.stringify({ name, answers: kept }, null, 2);
}

export function asCsv(answers) {
  const rows = answers.map(({ window, start_s, end_s, predictions: [first], age_ms, timings_ms }) => (
    [window, start_s, end_s, quoted(first.label), first.confidence, age_ms, timings_ms.total]));
  return [HEADS, ...rows].map((row) => row.join(",")).join("\r\n");
}

export function asWebVtt(segments, originS) {
  const cues = segments.map(({ label, startS, endS, confidence }) => (
    `${stamp(startS - originS)} --> ${stamp(endS - originS)}\n${escaped(label)} (${Math.round(100 * confidence)} %)`));
  return ["WEBVTT", ...cues].join("\n\n") + "\n";
}

export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// A spreadsheet takes a cell that begins like this for a formula.
function quoted(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll(/\s+/g, " ");
}

function stamp(seconds) {
  const ms = Math.max(0, Math.round(seconds * 1000));
  const [hours, minutes] = [Math.floor(ms / 3600000), Math.floor(ms / 60000) % 60];
  const rest = ((ms % 60000) / 1000).toFixed(3).padStart(6, "0");
  return `${String(hours).padStart(2, "0")}:${String(minutes).padStart(2, "0")}:${rest}`;
}
